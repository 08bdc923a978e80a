//! Mounts a game in an axum router, next to ordinary routes that share its state.
//!
//! ```sh
//! cargo run --example axum_mount
//! ```
//!
//! It prints what to try. `KENGINE_LISTEN` is the address to listen on (default `127.0.0.1:8000`), and `RUST_LOG` what
//! to log (default `info`; `kengine=debug` shows every connection).

use std::{
    env,
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Context;
use axum::{
    Router,
    extract::State,
    http::header::CONTENT_TYPE,
    response::{Html, IntoResponse},
    routing::get,
    serve::ListenerExt,
};
use kengine::Server;
use serde::Deserialize;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

/// State shared by the game and the pages.
#[derive(Default)]
struct World {
    players: AtomicUsize,
}

struct Game {
    world: Arc<World>,
}

#[derive(Deserialize)]
struct Chat {
    greeting: String,
}

#[kengine::dispatcher]
impl Game {
    #[open]
    async fn arrive(&self) {
        self.world.players.fetch_add(1, Ordering::Relaxed);
    }

    #[close]
    async fn leave(&self) {
        self.world.players.fetch_sub(1, Ordering::Relaxed);
    }

    #[route]
    async fn chat(&self, chat: Chat) -> String {
        format!("hey, you said: {}", chat.greeting)
    }
}

async fn index() -> Html<&'static str> {
    Html(
        "<!doctype html><title>a game</title><p>The game is at <code>/ws</code>, the number of players at <a href=/players><code>/players</code></a>.",
    )
}

async fn players(State(world): State<Arc<World>>) -> impl IntoResponse {
    let players = world.players.load(Ordering::Relaxed);
    ([(CONTENT_TYPE, "application/json")], format!(r#"{{"players":{players}}}"#))
}

/// Returns a future that completes at the first SIGTERM or SIGINT.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let world = Arc::new(World::default());
    let game = Server::new(Game { world: Arc::clone(&world) }).into_service()?;
    let router = Router::new()
        .route_service("/ws", game.clone())
        .route("/", get(index))
        .route("/players", get(players))
        .with_state(world);

    let listen = env::var("KENGINE_LISTEN").unwrap_or_else(|_| "127.0.0.1:8000".to_owned());
    let listener = TcpListener::bind(&listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let stop = stop_signal()?;
    println!("connect any WebSocket client to ws://{address}/ws and try");
    println!(r#"  {{"method":"chat","message":{{"greeting":"hello"}},"id":7}}"#);
    println!("While it is connected, try on the same port");
    println!("  curl http://{address}/players");
    println!("Ctrl-C drains the server and ends it.");

    // axum accepts the sockets here, so set TCP_NODELAY as kengine's own listener does.
    let listener = listener.tap_io(|socket| {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
    });
    // Drain the players first. The pages are served until all players are gone.
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            stop.await;
            tracing::info!("draining");
            game.drain().await;
        })
        .await?;
    Ok(())
}
