//! A dispatcher as a tower service, which the user mounts in a router.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::{Request, Response};
use tokio::sync::Semaphore;

use crate::connection::Endpoint;
use crate::dispatch::Dispatcher;
use crate::handles::Hub;
use crate::http::Body;
use crate::server::routes::Routes;
use crate::server::upgrade::Answered;

/// A dispatcher as a tower service: each request for a WebSocket becomes a connection.
///
/// Created by [`Server::into_service`](crate::Server::into_service). It needs a router over hyper with upgrades
/// enabled, such as axum's. It is cheap to clone, and all clones share one node.
///
/// ```
/// # struct Game;
/// # #[kengine::dispatcher]
/// # impl Game { #[route] async fn ping(&self) {} }
/// use kengine::Server;
///
/// # fn mount() -> Result<(), kengine::StartError> {
/// let game = Server::new(Game).into_service()?;
/// let router = axum::Router::<()>::new().route_service("/ws", game.clone());
/// # let _ = router;
/// // Serve the router. Before the process ends, await `game.drain()`.
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Service<D> {
    first: Arc<Endpoint<D>>,
    routes: Arc<Routes>,
    /// One permit for each refused client whose socket may stay open until the client has answered the close frame. It
    /// bounds what pending handshakes are on a server that listens.
    closing: Arc<Semaphore>,
}

impl<D> Service<D> {
    pub(crate) fn new(first: Arc<Endpoint<D>>, routes: Routes) -> Self {
        routes.node.cluster.start();
        let max_closing = routes.node.limits.max_pending_handshakes.min(Semaphore::MAX_PERMITS);
        Self { first, routes: Arc::new(routes), closing: Arc::new(Semaphore::new(max_closing)) }
    }

    /// Returns the handle on rooms, users and connections.
    pub fn hub(&self) -> Hub {
        Hub::new(Arc::clone(&self.routes.node))
    }

    /// Drains: new connections are refused with 503, messages that were read are answered, and every connection is
    /// closed with 4000. Returns when all connections have ended. Handlers that still run after
    /// [`Server::drain_timeout`](crate::Server::drain_timeout) are cancelled.
    pub async fn drain(&self) {
        self.routes.node.drain().await;
    }
}

impl<D> Clone for Service<D> {
    fn clone(&self) -> Self {
        let (first, routes, closing) = (&self.first, &self.routes, &self.closing);
        Self { first: Arc::clone(first), routes: Arc::clone(routes), closing: Arc::clone(closing) }
    }
}

impl<D: Dispatcher, B: 'static> tower_service::Service<Request<B>> for Service<D> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let endpoint = self.routes.endpoint_or(request.uri().path(), &self.first);
        let (answered, permits) = (endpoint.upgrade(request.map(drop), None), Arc::clone(&self.closing));
        Box::pin(async {
            let Answered { response, closing } = answered.await;
            // Without a permit the socket is closed at once, and the client sees no close frame.
            if let (Some(closing), Ok(permit)) = (closing, permits.try_acquire_owned()) {
                tokio::spawn(async move {
                    closing.await;
                    drop(permit);
                });
            }
            Ok(response)
        })
    }
}
