//! Writes the files that configure nginx as the gateway of a cluster.
//!
//! ```sh
//! REDIS_URL=redis://127.0.0.1/ cargo run --example gateway -- --listen 8080 --standalone /tmp/gateway
//! ```
//!
//! It prints the folder and the command that starts nginx; `--help` lists the options. Your own program can use the
//! other methods of [`Gateway`], for example to set the paths of your WebSockets.

use std::{env, path::PathBuf};

use clap::Parser;
use kengine::cluster::gateway::Gateway;

/// Writes the nginx configuration of a gateway to a kengine cluster.
#[derive(Parser)]
struct Arguments {
    /// Folder to write to, for example /etc/nginx/kengine
    folder: PathBuf,
    /// URL of the cluster's Redis; if it contains a password, set `REDIS_URL` instead, which other users cannot see
    #[arg(long)]
    redis: Option<String>,
    /// Address to listen on, in the syntax of nginx; by default port 80, or 443 with TLS
    #[arg(long)]
    listen: Option<String>,
    /// TLS certificate in PEM, followed by its intermediate certificates
    #[arg(long, requires = "key")]
    certificate: Option<String>,
    /// Key of the certificate in PEM
    #[arg(long, requires = "certificate")]
    key: Option<String>,
    /// DNS server that resolves the names of Redis and nodes; 127.0.0.11 in Docker
    #[arg(long)]
    resolver: Option<String>,
    /// Proxy in front of the gateway, as an address or a network; may be given several times
    #[arg(long)]
    trusted_proxy: Vec<String>,
    /// Let nginx write its logs and temporary files to the folder too
    #[arg(long)]
    standalone: bool,
}

fn main() -> Result<(), kengine::StartError> {
    let arguments = Arguments::parse();
    let folder = arguments.folder.display().to_string();
    let conf = write(arguments)?;
    println!("wrote the gateway to {folder}; start it with");
    println!("  nginx -c {}", conf.display());
    Ok(())
}

fn write(arguments: Arguments) -> Result<PathBuf, kengine::StartError> {
    let Arguments { folder, redis, listen, certificate, key, resolver, trusted_proxy, standalone } = arguments;
    let redis = redis.or_else(|| env::var("REDIS_URL").ok());
    let mut gateway = Gateway::new(redis.unwrap_or_else(|| "redis://127.0.0.1/".to_owned()));
    gateway = gateway.trusted_proxies(trusted_proxy);
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
