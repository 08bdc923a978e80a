//! An endpoint with any dispatcher.

use std::{fmt, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use hyper::Request;

use crate::connection::{Endpoint, Transport};
use crate::dispatch::Dispatcher;
use crate::http::Refusal;
use crate::node_state::{BoxFuture, Count};
use crate::server::upgrade::{self, Answered, Connected, Opened};

/// An [`Endpoint`] with any dispatcher.
pub(crate) trait AnyEndpoint: fmt::Debug + Send + Sync {
    /// Answers a request to open a connection.
    fn upgrade(self: Arc<Self>, request: Request<()>, peer: Option<SocketAddr>) -> BoxFuture<'static, Answered>;

    /// Answers a request on a socket that no HTTP library serves, and opens the connection. `received` is what came
    /// after the request.
    fn open(
        self: Arc<Self>,
        request: Request<()>,
        peer: SocketAddr,
        transport: Transport,
        received: Bytes,
    ) -> BoxFuture<'static, Opened>;

    /// Opens a connection over a transport that exists already. Returns when `#[open]` has run.
    fn connect(
        self: Arc<Self>,
        request: Request<()>,
        peer: Option<SocketAddr>,
        transport: Transport,
    ) -> BoxFuture<'static, Result<Connected, Refusal>>;

    /// Returns the counts and the name of each route; `-` stands for messages without a route.
    fn counts(&self) -> Vec<(Count, &'static str)>;
}

impl<D: Dispatcher> AnyEndpoint for Endpoint<D> {
    fn upgrade(self: Arc<Self>, request: Request<()>, peer: Option<SocketAddr>) -> BoxFuture<'static, Answered> {
        Box::pin(upgrade::upgrade(self, request, peer))
    }

    fn open(
        self: Arc<Self>,
        request: Request<()>,
        peer: SocketAddr,
        transport: Transport,
        received: Bytes,
    ) -> BoxFuture<'static, Opened> {
        Box::pin(upgrade::open(self, request, peer, transport, received))
    }

    fn connect(
        self: Arc<Self>,
        request: Request<()>,
        peer: Option<SocketAddr>,
        transport: Transport,
    ) -> BoxFuture<'static, Result<Connected, Refusal>> {
        Box::pin(upgrade::connect(self, request, peer, transport))
    }

    fn counts(&self) -> Vec<(Count, &'static str)> {
        let names = D::ROUTES.iter().map(|route| route.name).chain(["-"]);
        self.counters.sums().into_iter().zip(names).collect()
    }
}
