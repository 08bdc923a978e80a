//! What has to be installed on this machine, and what to do about what is not.

use std::{env, path::PathBuf};

use anyhow::{Result, bail};

const INSTALL: &str = "apt-get install nginx libnginx-mod-http-lua lua-nginx-redis redis-server";

/// The programs that are run.
pub(crate) struct Programs {
    pub(crate) nginx: PathBuf,
    pub(crate) redis: PathBuf,
}

pub(crate) fn find() -> Result<Programs> {
    // Only root is told to look for nginx where it is.
    let nginx =
        program("nginx").or_else(|| Some(PathBuf::from("/usr/sbin/nginx")).filter(|nginx| nginx.is_file()));
    match (nginx, program("redis-server")) {
        (Some(nginx), Some(redis)) => Ok(Programs { nginx, redis }),
        (None, Some(_)) => bail!("`nginx` is missing: {INSTALL}"),
        (Some(_), None) => bail!("`redis-server` is missing: {INSTALL}"),
        (None, None) => bail!("`nginx` and `redis-server` are missing: {INSTALL}"),
    }
}

/// Which of its modules nginx lacks, by what it said when it did not start.
pub(crate) fn missing(said: &str) -> Option<String> {
    if said.contains("unknown directive \"lua") || said.contains("ngx_http_lua_module.so\" failed") {
        Some(format!("nginx lacks its module for Lua (libnginx-mod-http-lua): {INSTALL}"))
    } else if said.contains("lua-nginx-redis") {
        Some(format!("nginx lacks a client of Redis for Lua (lua-nginx-redis): {INSTALL}"))
    } else {
        None
    }
}

fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}
