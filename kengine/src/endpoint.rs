//! A dispatcher in its node: what every connection to one path shares.

use std::{fmt, net::SocketAddr, pin::Pin, sync::Arc};

use hyper::{Request, Response};

use crate::{
    Dispatcher, Refusal,
    handshake::{self, Origins},
    metrics::{Count, Counters},
    node::Node,
    proxies::Proxies,
    refusal::Body,
    testing::{self, Client},
};

pub(crate) struct Endpoint<D> {
    pub(crate) dispatcher: D,
    pub(crate) node: Arc<Node>,
    pub(crate) counters: Counters,
    pub(crate) origins: Origins,
    pub(crate) proxies: Proxies,
}

impl<D: Dispatcher> Endpoint<D> {
    pub(crate) fn new(dispatcher: D, node: Arc<Node>, origins: Origins, proxies: Proxies) -> Self {
        Self { dispatcher, node, counters: Counters::new(D::ROUTES.len()), origins, proxies }
    }

    /// The name of a route by its index; what no route took has none.
    pub(crate) fn route_name(&self, route: Option<usize>) -> &'static str {
        let _ = self;
        route.and_then(|route| D::ROUTES.get(route)).map_or("-", |route| route.name)
    }
}

impl<D> fmt::Debug for Endpoint<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("node", &self.node).finish_non_exhaustive()
    }
}

/// What comes of a request, in time.
pub(crate) type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An endpoint of any dispatcher, as those see it who bring it connections.
pub(crate) trait Door: fmt::Debug + Send + Sync {
    /// Answers a request to open a connection.
    fn upgrade(self: Arc<Self>, request: Request<()>, peer: Option<SocketAddr>) -> Later<Response<Body>>;

    /// Opens a connection over memory.
    fn connect(
        self: Arc<Self>,
        request: Request<()>,
        peer: Option<SocketAddr>,
    ) -> Later<Result<Client, Refusal>>;

    /// What was counted, per route.
    fn counts(&self) -> Vec<(Count, &'static str)>;
}

impl<D: Dispatcher> Door for Endpoint<D> {
    fn upgrade(self: Arc<Self>, request: Request<()>, peer: Option<SocketAddr>) -> Later<Response<Body>> {
        Box::pin(handshake::upgrade(&self, request, peer))
    }

    fn connect(
        self: Arc<Self>,
        request: Request<()>,
        peer: Option<SocketAddr>,
    ) -> Later<Result<Client, Refusal>> {
        Box::pin(testing::connect(self, request, peer))
    }

    fn counts(&self) -> Vec<(Count, &'static str)> {
        let names = D::ROUTES.iter().map(|route| route.name).chain(["-"]);
        self.counters.sums().into_iter().zip(names).collect()
    }
}
