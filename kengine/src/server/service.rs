//! A dispatcher as a tower service, to be mounted in a router of the user's.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::{Request, Response};

use crate::{
    dispatch::dispatcher::Dispatcher,
    handles::hub::Hub,
    http::refusal::Body,
    server::{
        any_endpoint::{AnyEndpoint, Guarded},
        routes::Routes,
    },
};

/// A dispatcher as a tower service: each request that asks for a WebSocket becomes a connection.
///
/// Made by [`Server::into_service`](crate::Server::into_service); cheap to clone, every clone is the same node. It
/// needs a router over hyper with upgrades enabled, such as axum's:
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
/// // … serve the router; when it is time to go: game.drain().await
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Service<D> {
    first: Guarded<D>,
    routes: Arc<Routes>,
}

impl<D> Service<D> {
    pub(crate) fn new(first: Guarded<D>, routes: Routes) -> Self {
        routes.node.cluster().start();
        Self { first, routes: Arc::new(routes) }
    }

    /// The server's handle: who is connected, in which rooms, and how to reach them.
    pub fn hub(&self) -> Hub {
        Hub::new(Arc::clone(&self.routes.node))
    }

    /// Refuses new connections with 503, answers what was read, closes every connection with 4000, and returns when
    /// all are gone; handlers that still run at the drain's deadline are cancelled.
    pub async fn drain(&self) {
        self.routes.node.drain().await;
    }
}

impl<D> Clone for Service<D> {
    fn clone(&self) -> Self {
        Self { first: self.first.clone(), routes: Arc::clone(&self.routes) }
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
        let endpoint: &dyn AnyEndpoint = match self.routes.endpoint(request.uri().path()) {
            Some(endpoint) => &**endpoint,
            None => &self.first,
        };
        let response = endpoint.upgrade(request.map(drop), None);
        Box::pin(async { Ok(response.await) })
    }
}
