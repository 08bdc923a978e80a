//! Writes the files of a gateway, nginx, for a cluster of yours.
//!
//! ```sh
//! REDIS_URL=redis://127.0.0.1/ cargo run --example gateway -- --listen 8080 --standalone /tmp/gateway
//! ```
//!
//! It prints what it wrote, and the command that runs nginx with it; `--help` tells the options. A program of your own
//! does the same with what else [`Gateway`] offers, such as the paths of your WebSockets.

use std::{env, path::PathBuf};

use clap::Parser;
use kengine::cluster::gateway::Gateway;

/// Writes the configuration of a gateway to a kengine cluster, to be run by nginx.
#[derive(Parser)]
struct Arguments {
    /// The folder to write to, such as /etc/nginx/kengine
    folder: PathBuf,
    /// The Redis of the cluster, unless the environment says it, where no other user sees a password: `REDIS_URL`
    #[arg(long)]
    redis: Option<String>,
    /// Where to listen, as nginx writes it: 80, or 443 under TLS, unless it is said here
    #[arg(long)]
    listen: Option<String>,
    /// The certificate for TLS, with those of its authorities behind it, in PEM
    #[arg(long, requires = "key")]
    certificate: Option<String>,
    /// The key of the certificate, in PEM
    #[arg(long, requires = "certificate")]
    key: Option<String>,
    /// Who resolves the names of Redis and of nodes: 127.0.0.11 in Docker
    #[arg(long)]
    resolver: Option<String>,
    /// Keep what nginx writes in the folder too
    #[arg(long)]
    standalone: bool,
}

fn main() -> Result<(), kengine::StartError> {
    let arguments = Arguments::parse();
    let folder = arguments.folder.display().to_string();
    let conf = write(arguments)?;
    println!("the gateway's files are in {folder}; run it by");
    println!("  nginx -c {}", conf.display());
    Ok(())
}

fn write(arguments: Arguments) -> Result<PathBuf, kengine::StartError> {
    let Arguments { folder, redis, listen, certificate, key, resolver, standalone } = arguments;
    let redis = redis.or_else(|| env::var("REDIS_URL").ok());
    let mut gateway = Gateway::new(redis.unwrap_or_else(|| "redis://127.0.0.1/".to_owned()));
    if let Some(address) = listen {
        gateway = gateway.listen(address);
    }
    if let (Some(certificate), Some(key)) = (certificate, key) {
        gateway = gateway.tls(certificate, key);
    }
    if let Some(address) = resolver {
        gateway = gateway.resolver(address);
    }
    if standalone {
        gateway = gateway.standalone();
    }
    gateway.write(folder)
}

#[cfg(test)]
mod test;
