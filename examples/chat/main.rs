//! A chat with rooms and a web page. It is a good starting point for a game server.
//!
//! ```sh
//! cargo run --example chat
//! ```
//!
//! It prints the address of the page, to be opened in two tabs, and messages that any WebSocket client can send.
//! `KENGINE_LISTEN` is the address to listen on (default `127.0.0.1:8000`), `KENGINE_HOSTS` the names under which
//! browsers reach it (separated by commas, default any), `KENGINE_ADVERTISE` the address at which gateways reach it,
//! `KENGINE_TRUSTED_PROXIES` the addresses or networks of gateways and other proxies (separated by commas), and
//! `RUST_LOG` what to log (default `info`; `kengine=debug` shows every connection). With `REDIS_URL`, several processes
//! form one chat:
//!
//! ```sh
//! REDIS_URL=redis://127.0.0.1/ KENGINE_LISTEN=127.0.0.1:8000 cargo run --example chat
//! REDIS_URL=redis://127.0.0.1/ KENGINE_LISTEN=127.0.0.1:8001 cargo run --example chat
//! ```

use std::{
    env,
    io::{IsTerminal, stderr},
    time::Duration,
};

use kengine::{Server, cluster::Redis};
use tracing_subscriber::EnvFilter;

use crate::lobby::Lobby;

mod lobby;

#[tokio::main]
async fn main() -> Result<(), kengine::StartError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Use colours in a terminal, but not in a log file.
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(stderr().is_terminal()).with_writer(stderr).init();

    let listen = env::var("KENGINE_LISTEN").unwrap_or_else(|_| "127.0.0.1:8000".to_owned());
    let advertise = env::var("KENGINE_ADVERTISE").ok();
    let server = Server::new(Lobby).resume_within(Duration::from_secs(30));
    let mut server = server.page("/", "text/html; charset=utf-8", include_str!("page.html"));
    if let Ok(hosts) = env::var("KENGINE_HOSTS") {
        server = server.hosts(hosts.split(','));
    }
    if let Ok(proxies) = env::var("KENGINE_TRUSTED_PROXIES") {
        server = server.trusted_proxies(proxies.split(','));
    }
    if let Ok(url) = env::var("REDIS_URL") {
        let redis = Redis::new(url);
        server = server.cluster(match &advertise {
            Some(address) => redis.advertise(address),
            None => redis,
        });
    }
    let server = server.bind(listen).await?;
    let address = advertise.unwrap_or_else(|| server.local_addr().to_string());
    println!("open http://{address}/ in two browser tabs and chat");
    println!("or connect any WebSocket client to ws://{address}/ws?uid=ada and try");
    println!(r#"  {{"method":"chat","message":{{"greeting":"hello"}}}}"#);
    println!(r#"  {{"method":"chat","message":{{"greeting":"hello"}},"id":7}}"#);
    println!("  p");
    println!("Ctrl-C drains the server and ends it.");
    server.serve().await
}
