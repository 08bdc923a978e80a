//! A game loop: each arena of nine players is a task that owns the arena's state and ticks 20 times a second.
//!
//! ```sh
//! cargo run --example arena_room
//! ```
//!
//! It prints what to try. Start reading with `arena.rs`, which contains the loop and the rules. Then read `game.rs`,
//! the dispatcher. To make your own game of it, put your rules into `Arena::simulate`, and the actions of your players
//! into the message `Steer`.
//!
//! `KENGINE_LISTEN` is the address to listen on (default `127.0.0.1:8000`), and `RUST_LOG` what to log (default `info`;
//! `kengine=debug` shows every connection). With `REDIS_URL`, several processes serve one game:
//!
//! ```sh
//! REDIS_URL=redis://127.0.0.1/ KENGINE_LISTEN=127.0.0.1:8001 cargo run --example arena_room
//! ```

use std::env;

use kengine::{Server, cluster::Redis};
use tracing_subscriber::EnvFilter;

use crate::game::Game;

mod arena;
mod game;

#[tokio::main]
async fn main() -> Result<(), kengine::StartError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let listen = env::var("KENGINE_LISTEN").unwrap_or_else(|_| "127.0.0.1:8000".to_owned());
    let mut server = Server::new(Game);
    if let Ok(url) = env::var("REDIS_URL") {
        server = server.cluster(Redis::new(url));
    }
    let server = server.bind(listen).await?;
    let address = server.local_addr();
    println!("connect two or more WebSocket clients to ws://{address}/ws?uid=ada and try");
    println!(r#"  {{"method":"play","id":1}}"#);
    println!(r#"  {{"method":"steer","message":{{"x":1,"y":0.5}}}}"#);
    println!(r#"  {{"method":"leave","id":2}}"#);
    println!("Ctrl-C drains the server and ends it.");
    server.serve().await
}
