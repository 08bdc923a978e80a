//! What all connections of one path share.

use std::{fmt, net::IpAddr, sync::Arc};

use crate::connection::resumables::Resumables;
use crate::connection::session_codec::SessionCodec;
use crate::dispatch::Dispatcher;
use crate::http::{Hosts, Origins, Proxies, RefusalForm};
use crate::node::Node;
use crate::node_state::Counters;

/// A dispatcher, its node, the counters of its routes, and the rules of access to it.
pub(crate) struct Endpoint<D> {
    pub(crate) dispatcher: D,
    pub(crate) node: Arc<Node>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) access: Arc<Access>,
    /// The sessions that can be resumed; `None` if the server does not allow it.
    pub(crate) resumables: Option<Arc<Resumables>>,
    /// How sessions are handed over to other nodes; `None` if they are not.
    pub(crate) codec: Option<SessionCodec>,
}

/// Which requests may become connections, how the others are refused, which proxies may report where requests come
/// from, and which clients have limits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    pub(crate) hosts: Hosts,
    pub(crate) origins: Origins,
    pub(crate) proxies: Proxies,
    pub(crate) refusal_form: RefusalForm,
    /// Whether clients on this machine have the limits of an address too.
    pub(crate) limits_loopback: bool,
}

impl Access {
    /// Returns the address if it has the limits of a client address. Proxies and this machine have none.
    pub(crate) fn limited(&self, ip: IpAddr) -> Option<IpAddr> {
        let ip = ip.to_canonical();
        let is_unlimited = self.proxies.is_trusted(ip) || (ip.is_loopback() && !self.limits_loopback);
        (!is_unlimited).then_some(ip)
    }

    /// Returns whether every page on the web may connect if its name resolves to this server (DNS rebinding): then the
    /// page has the origin of the host that its requests name.
    pub(crate) fn trusts_every_host(&self) -> bool {
        self.hosts.is_empty() && !self.origins.admit_all()
    }
}

impl<D> Endpoint<D> {
    pub(crate) fn new(
        dispatcher: D,
        node: Arc<Node>,
        counters: Arc<Counters>,
        access: Arc<Access>,
        codec: Option<SessionCodec>,
    ) -> Self {
        let codec = codec.filter(|_| node.hand_overs().is_some());
        let create = |within| Arc::new(Resumables::new(within, Arc::clone(&node), codec.is_some()));
        let resumables = node.limits.resume_within.map(create);
        if let (Some(resumables), Some(_)) = (&resumables, codec) {
            node.set_session_holder(Arc::downgrade(resumables) as _);
        }
        Self { dispatcher, node, counters, access, resumables, codec }
    }
}

impl<D: Dispatcher> Endpoint<D> {
    /// Returns the name of a route by its index, and `-` for a message without a route.
    pub(crate) fn route_name(route: Option<usize>) -> &'static str {
        route.and_then(|route| D::ROUTES.get(route)).map_or("-", |route| route.name)
    }
}

impl<D> fmt::Debug for Endpoint<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("node", &self.node).finish_non_exhaustive()
    }
}
