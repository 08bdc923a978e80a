//! An axum router in which a dispatcher is mounted.

use std::io;

use axum::Router;
use tokio::{net::TcpListener, task::JoinHandle};

/// A router that is served until this is dropped.
#[derive(Debug)]
pub struct ServedRouter(JoinHandle<io::Result<()>>);

/// Serves the router on this listener.
pub fn serve_router(listener: TcpListener, router: Router) -> ServedRouter {
    ServedRouter(tokio::spawn(axum::serve(listener, router).into_future()))
}

impl ServedRouter {
    /// Stops it, and checks that it has served until now.
    pub async fn stop(mut self) {
        self.0.abort();
        assert!((&mut self.0).await.expect_err("it was aborted").is_cancelled());
    }
}

impl Drop for ServedRouter {
    fn drop(&mut self) {
        self.0.abort();
    }
}
