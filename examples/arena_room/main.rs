//! A game loop: each arena of nine players is an actor, a task that owns the arena's state and ticks 20 times a second.
//!
//! ```sh
//! cargo run --example arena_room
//! ```
//!
//! It prints what to try. Start reading with `arena.rs`, which contains the loop and the rules. Then read `game.rs`,
//! the dispatcher, and `arenas.rs`, which owns the tasks. To make your own game of it, put your rules into
//! `Arena::simulate`, and the actions of your players into `Command`.
//!
//! `KENGINE_LISTEN` is the address to listen on (default `127.0.0.1:8000`), and `RUST_LOG` what to log (default `info`;
//! `kengine=debug` shows every connection).

use std::{env, sync::Arc, time::Duration};

use kengine::Server;
use tokio::time::timeout;
use tracing_subscriber::EnvFilter;

use crate::game::Game;

mod arena;
mod arenas;
mod game;

/// How long arenas without players may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> Result<(), kengine::StartError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let game = Game::default();
    let arenas = Arc::clone(&game.arenas);
    let listen = env::var("KENGINE_LISTEN").unwrap_or_else(|_| "127.0.0.1:8000".to_owned());
    let server = Server::new(game).bind(listen).await?;
    let address = server.local_addr();
    println!("connect two or more WebSocket clients to ws://{address}/ws?uid=ada and try");
    println!(r#"  {{"method":"play","id":1}}"#);
    println!(r#"  {{"method":"steer","message":{{"x":1,"y":0.5}}}}"#);
    println!(r#"  {{"method":"leave","id":2}}"#);
    println!("Ctrl-C drains the server and ends it.");
    server.serve().await?;

    // All connections are closed, so each arena ends at its next tick.
    if timeout(END_TIMEOUT, arenas.ended()).await.is_err() {
        tracing::warn!(arenas = arenas.running(), "cancelling arenas that did not end");
    }
    Ok(())
}
