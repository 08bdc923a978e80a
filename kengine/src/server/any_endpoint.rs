//! An endpoint with any dispatcher, and the access rules of the server.

use std::{fmt, net::SocketAddr, sync::Arc};

use hyper::{Request, Response};

use crate::{
    connection::{endpoint::Endpoint, transport::Transport},
    dispatch::dispatcher::Dispatcher,
    http::{
        origins::Origins,
        proxies::Proxies,
        refusal::{Body, Refusal},
    },
    language::syntax::Syntax,
    local::{cluster_interface::BoxFuture, counters::Count},
    server::upgrade,
};

/// Which requests may become connections, and who may report where they come from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    pub(crate) origins: Origins,
    pub(crate) proxies: Proxies,
}

/// An endpoint behind the access rules of its server.
pub(crate) struct Guarded<D> {
    pub(crate) endpoint: Arc<Endpoint<D>>,
    pub(crate) access: Arc<Access>,
}

impl<D> Clone for Guarded<D> {
    fn clone(&self) -> Self {
        Self { endpoint: Arc::clone(&self.endpoint), access: Arc::clone(&self.access) }
    }
}

impl<D> fmt::Debug for Guarded<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// A [`Guarded`] endpoint with any dispatcher.
pub(crate) trait AnyEndpoint: fmt::Debug + Send + Sync {
    /// Answers a request to open a connection.
    fn upgrade(&self, request: Request<()>, peer: Option<SocketAddr>) -> BoxFuture<'static, Response<Body>>;

    /// Opens a connection over a transport that exists already. Returns when `#[open]` has run.
    fn connect(
        &self,
        request: Request<()>,
        peer: Option<SocketAddr>,
        transport: Transport,
    ) -> BoxFuture<'static, Result<Connected, Refusal>>;

    /// Returns the counts and the name of each route; `-` stands for messages without a route.
    fn counts(&self) -> Vec<(Count, &'static str)>;
}

/// What the client of an open connection needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connected {
    pub(crate) subprotocol: Option<&'static str>,
    pub(crate) syntax: &'static Syntax,
}

impl<D: Dispatcher> AnyEndpoint for Guarded<D> {
    fn upgrade(&self, request: Request<()>, peer: Option<SocketAddr>) -> BoxFuture<'static, Response<Body>> {
        Box::pin(upgrade::upgrade(self.clone(), request, peer))
    }

    fn connect(
        &self,
        request: Request<()>,
        peer: Option<SocketAddr>,
        transport: Transport,
    ) -> BoxFuture<'static, Result<Connected, Refusal>> {
        Box::pin(upgrade::connect(self.clone(), request, peer, transport))
    }

    fn counts(&self) -> Vec<(Count, &'static str)> {
        let names = D::ROUTES.iter().map(|route| route.name).chain(["-"]);
        self.endpoint.counters.sums().into_iter().zip(names).collect()
    }
}
