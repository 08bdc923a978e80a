//! A chat: the program to start a game server from.
//!
//! ```sh
//! cargo run --example chat
//! ```
//!
//! It prints what to try: the page to open in two tabs, and what any WebSocket client may send. `KENGINE_LISTEN` changes
//! the address it listens on (`127.0.0.1:8000`), `KENGINE_ADVERTISE` the one it tells others to use, `RUST_LOG` what it
//! logs (`info`; `kengine=debug` shows every connection).

use std::env;

use kengine::Server;
use tracing_subscriber::EnvFilter;

use crate::lobby::Lobby;

mod lobby;

#[tokio::main]
async fn main() -> kengine::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let listen = env::var("KENGINE_LISTEN").unwrap_or_else(|_| "127.0.0.1:8000".to_owned());
    let page = include_str!("page.html");
    let server = Server::new(Lobby).page("/", "text/html; charset=utf-8", page).bind(listen).await?;
    let address = env::var("KENGINE_ADVERTISE").unwrap_or_else(|_| server.local_addr().to_string());
    println!("open http://{address}/ in two tabs of a browser, and talk");
    println!("chat is at ws://{address}/ws?uid=1001; with any WebSocket client, try");
    println!(r#"  {{"method":"chat","message":{{"greeting":"hello"}}}}"#);
    println!(r#"  {{"method":"chat","message":{{"greeting":"hello"}},"id":7}}"#);
    println!("  p");
    println!("Ctrl-C ends it; every client is told to come back.");
    server.serve().await
}
