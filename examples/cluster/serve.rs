//! The process of a node, which serves the example `chat`.

use std::net::SocketAddr;

use anyhow::Result;
use kengine::{Server, cluster::Redis};
use tracing_subscriber::EnvFilter;

use crate::lobby::Lobby;

/// Serves until a signal arrives, then drains.
pub(crate) async fn serve(listen: SocketAddr, redis: String, capacity: usize) -> Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Without colours, because stderr is a file.
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();

    let server = Server::new(Lobby)
        .page("/", "text/html; charset=utf-8", include_str!("../chat/page.html"))
        .max_connections(capacity)
        .cluster(Redis::new(redis));
    server.bind(listen).await?.serve().await?;
    Ok(())
}
