//! Finds the required programs. The errors name the command that installs missing ones.

use std::{env, path::PathBuf};

use anyhow::{Result, bail};

const INSTALL: &str = "apt-get install nginx libnginx-mod-http-lua lua-nginx-redis redis-server";

/// The required programs.
pub(crate) struct Programs {
    pub(crate) nginx: PathBuf,
    pub(crate) redis: PathBuf,
}

pub(crate) fn find() -> Result<Programs> {
    // Only the PATH of root contains /usr/sbin.
    let nginx = program("nginx").or_else(|| Some(PathBuf::from("/usr/sbin/nginx")).filter(|nginx| nginx.is_file()));
    match (nginx, program("redis-server")) {
        (Some(nginx), Some(redis)) => Ok(Programs { nginx, redis }),
        (None, Some(_)) => bail!("`nginx` is missing: {INSTALL}"),
        (Some(_), None) => bail!("`redis-server` is missing: {INSTALL}"),
        (None, None) => bail!("`nginx` and `redis-server` are missing: {INSTALL}"),
    }
}

/// Returns which module nginx lacks, according to its output.
pub(crate) fn missing(output: &str) -> Option<String> {
    if output.contains("unknown directive \"lua") || output.contains("ngx_http_lua_module.so\" failed") {
        Some(format!("nginx lacks its Lua module (libnginx-mod-http-lua): {INSTALL}"))
    } else if output.contains("lua-nginx-redis") {
        Some(format!("nginx lacks a Redis client for Lua (lua-nginx-redis): {INSTALL}"))
    } else {
        None
    }
}

fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}
