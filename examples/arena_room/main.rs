//! A game loop: each arena of nine players is an actor, a task that owns its state and ticks 20 times a second.
//!
//! ```sh
//! cargo run --example arena_room
//! ```
//!
//! It prints what to try. Look at `arena.rs` first, the loop and its rules; then at `game.rs`, how players reach it;
//! then at `arenas.rs`, who owns the loops. To make a game of it, write its rules into `Arena::simulate`, and what
//! players can do into `Command`.
//!
//! `KENGINE_LISTEN` is the address it listens on (`127.0.0.1:8000`), `RUST_LOG` what it logs (`info`; `kengine=debug`
//! shows every connection).

use std::{env, sync::Arc, time::Duration};

use kengine::Server;
use tokio::time::timeout;
use tracing_subscriber::EnvFilter;

use crate::game::Game;

mod arena;
mod arenas;
mod game;

/// How long arenas without players may take to end.
const END_WITHIN: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> Result<(), kengine::StartError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let game = Game::default();
    let arenas = Arc::clone(&game.arenas);
    let listen = env::var("KENGINE_LISTEN").unwrap_or_else(|_| "127.0.0.1:8000".to_owned());
    let server = Server::new(game).bind(listen).await?;
    let address = server.local_addr();
    println!("arena_room is at ws://{address}/ws?uid=ada; with two WebSocket clients or more, try");
    println!(r#"  {{"method":"play","id":1}}"#);
    println!(r#"  {{"method":"steer","message":{{"x":1,"y":0.5}}}}"#);
    println!(r#"  {{"method":"leave","id":2}}"#);
    println!("Ctrl-C ends it; every client is told to come back.");
    server.serve().await?;

    // Everyone has been sent away, and with its last player each arena ends by itself.
    if timeout(END_WITHIN, arenas.ended()).await.is_err() {
        tracing::warn!(arenas = arenas.running(), "cut off arenas that did not end");
    }
    Ok(())
}
