//! A chat: the program to start a game server from.
//!
//! ```sh
//! cargo run --example chat
//! ```
//!
//! It prints what to try. `KENGINE_LISTEN` changes the address it listens on (`127.0.0.1:8000`), `KENGINE_ADVERTISE`
//! the one it tells others to use, `RUST_LOG` what it logs (`info`; `kengine=debug` shows every connection).

use std::env;

use kengine::{Connection, Liveness, Server};
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

/// What a player says.
#[derive(Deserialize)]
struct Chat {
    /// Clients of the first kengine spell it as its documentation did.
    #[serde(alias = "greetting")]
    greeting: String,
    /// Anything the client wants to go with it.
    context: Option<serde_json::Value>,
}

struct Lobby;

#[kengine::dispatcher]
impl Lobby {
    /// Answers the player.
    #[route("chat")]
    async fn chat(&self, connection: &Connection, chat: Chat) -> String {
        tracing::debug!(connection = %connection.id(), context = ?chat.context, "chat");
        format!("hey, you said: {}", chat.greeting)
    }

    /// Says of every player who asks that all is well; a game would look at what it knows of the player first.
    #[heartbeat]
    async fn alive(&self, connection: &Connection) -> Liveness {
        tracing::trace!(connection = %connection.id(), "heartbeat");
        Liveness::Alive
    }
}

#[tokio::main]
async fn main() -> kengine::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let listen = env::var("KENGINE_LISTEN").unwrap_or_else(|_| "127.0.0.1:8000".to_owned());
    let server = Server::new(Lobby).bind(listen).await?;
    let address = env::var("KENGINE_ADVERTISE").unwrap_or_else(|_| server.local_addr().to_string());
    println!("chat is at ws://{address}/ws?uid=1001; with any WebSocket client, try");
    println!(r#"  {{"method":"chat","message":{{"greeting":"hello"}}}}"#);
    println!(r#"  {{"method":"chat","message":{{"greeting":"hello"}},"id":7}}"#);
    println!("  p");
    println!("Ctrl-C ends it; every client is told to come back.");
    server.serve().await
}
