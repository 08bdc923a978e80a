//! Players with tokens: JSON Web Tokens, checked before a connection is made; and routes that only admins may call.
//!
//! ```sh
//! cargo run --example auth
//! ```
//!
//! It prints what to try, with tokens that hold for an hour. `KENGINE_JWT_SECRET` is the secret that they are signed
//! with, `KENGINE_LISTEN` the address it listens on (`127.0.0.1:8000`), `RUST_LOG` what it logs (`info`;
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
        tracing::warn!(
            "`KENGINE_JWT_SECRET` is not set: tokens are signed with a secret that everybody knows"
        );
        "not a secret".to_owned()
    });
    let listen = env::var("KENGINE_LISTEN").unwrap_or_else(|_| "127.0.0.1:8000".to_owned());
    let server = Server::new(Game::new(&secret)).bind(listen).await?;
    let address = server.local_addr();
    let hour = Duration::from_secs(60 * 60);
    let player = token(&secret, &Uid::from(1001), Role::Player, hour);
    let admin = token(&secret, &Uid::from(1), Role::Admin, hour);
    println!("auth is at ws://{address}/ws?token={player}");
    println!("for player 1001; with any WebSocket client, try");
    println!(r#"  {{"method":"whoami","id":1}}"#);
    println!(r#"  {{"method":"admin/kick","message":{{"player":"1001"}},"id":2}}"#);
    println!("The second takes an admin's token, here in a header field, as programs send it:");
    println!("  websocat -H='Authorization: Bearer {admin}' ws://{address}/ws");
    println!("Without a token, or with another, it is refused:");
    println!("  websocat ws://{address}/ws");
    println!("Ctrl-C ends it; every client is told to come back.");
    server.serve().await
}
