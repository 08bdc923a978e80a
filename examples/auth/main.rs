//! Authenticates players with JSON Web Tokens before they connect, closes connections whose token expires unless the
//! client sends a new one, and has routes that only admins may call.
//!
//! ```sh
//! cargo run --example auth
//! ```
//!
//! It prints what to try, with tokens that are valid for an hour. `KENGINE_JWT_SECRET` is the secret that signs them,
//! `KENGINE_LISTEN` the address to listen on (default `127.0.0.1:8000`), and `RUST_LOG` what to log (default `info`;
//! `kengine=debug` shows every refusal).

use std::{env, time::Duration};

use kengine::{Server, Uid};
use tracing_subscriber::EnvFilter;

use crate::game::{Game, Role, token};

mod game;

#[tokio::main]
async fn main() -> Result<(), kengine::StartError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let secret = env::var("KENGINE_JWT_SECRET").unwrap_or_else(|_| {
        tracing::warn!("`KENGINE_JWT_SECRET` is not set; tokens are signed with a publicly known secret");
        "not a secret".to_owned()
    });
    let listen = env::var("KENGINE_LISTEN").unwrap_or_else(|_| "127.0.0.1:8000".to_owned());
    let server = Server::new(Game::new(&secret)).bind(listen).await?;
    let address = server.local_addr();
    let hour = Duration::from_secs(60 * 60);
    let player = token(&secret, &Uid::from(1001), Role::Player, hour);
    let renewed = token(&secret, &Uid::from(1001), Role::Player, 2 * hour);
    let admin = token(&secret, &Uid::from(1), Role::Admin, hour);
    println!("player 1001 connects to ws://{address}/ws?token={player}");
    println!("with any WebSocket client; try");
    println!(r#"  {{"method":"whoami","id":1}}"#);
    println!(r#"  {{"method":"admin/kick","message":{{"player":"1001"}},"id":2}}"#);
    println!(r#"  {{"method":"refresh","message":"{renewed}","id":3}}"#);
    println!("The second request needs the token of an admin, here in a header field:");
    println!("  websocat -H='Authorization: Bearer {admin}' ws://{address}/ws");
    println!("The third request keeps the connection for another hour. Otherwise it is closed when its token expires.");
    println!("Without a valid token, the connection is refused:");
    println!("  websocat ws://{address}/ws");
    println!("Ctrl-C drains the server and ends it.");
    server.serve().await
}
