//! The limits that protect a server against too many clients, and the listener that they do not concern.

use crate::dispatch::Dispatcher;
use crate::node_state::per_second;
use crate::server::Server;

impl<D: Dispatcher> Server<D> {
    /// Limits the number of clients that have not sent a complete request yet, or are being served pages. The default
    /// is 4,096, or what the limit of open files minus 64 leaves besides the connections if that is smaller. When it is
    /// reached, the oldest of them is cut off.
    ///
    /// A client whose request is complete counts as one of [`max_connections`](Self::max_connections) instead.
    pub fn max_pending_handshakes(mut self, clients: usize) -> Self {
        self.limits.max_pending_handshakes = clients.max(1);
        self
    }

    /// Limits the number of sockets of one client address that are not connections yet. The default is 64. Further
    /// sockets are closed at once. Behind a proxy, this limit does not apply, because the client's address is unknown
    /// until the request is complete.
    ///
    /// # Client addresses
    ///
    /// This and the other limits named `*_per_address` count by the address of the client. An IPv6 address stands for
    /// its /64 network, because a client can use every address of it. Behind one of the
    /// [`trusted_proxies`](Self::trusted_proxies), the address that it reports counts. The proxies themselves have no
    /// limits, nor has this machine unless [`limit_loopback`](Self::limit_loopback) is set. If a proxy is not named,
    /// all its clients count as one. A [`Service`](crate::Service) does not know its peers and so has none of these
    /// limits.
    pub fn max_pending_handshakes_per_address(mut self, sockets: usize) -> Self {
        self.limits.per_address.max_pending_handshakes = sockets;
        self
    }

    /// Limits the number of connections of one [client
    /// address](Self::max_pending_handshakes_per_address). The default is 256. Further handshakes are
    /// refused with 429 `rate_limited`.
    ///
    /// Raise it if many players share an address, for example at an event.
    pub fn max_connections_per_address(mut self, connections: usize) -> Self {
        self.limits.per_address.max_connections = connections;
        self
    }

    /// Limits the rate of handshakes: `rate` a second, and `burst` at once after a pause. The default is 20,000 and
    /// 20,000, most of what one core can do. Further handshakes are refused with 503 `unavailable`; a gateway sends
    /// them to another node.
    ///
    /// Both are at least 1.
    pub fn max_handshakes_per_second(mut self, rate: u32, burst: u32) -> Self {
        self.limits.max_handshakes_per_second = per_second(rate, burst);
        self
    }

    /// Limits the rate of handshakes of one [client
    /// address](Self::max_pending_handshakes_per_address): `rate` a second, and `burst` at once after
    /// a pause. The default is 20 and 100. Further handshakes are refused with 429 `rate_limited`; while none may come,
    /// new sockets of the address are closed at once. A socket that ends without a request counts as a handshake.
    ///
    /// Both are at least 1.
    pub fn max_handshakes_per_second_per_address(mut self, rate: u32, burst: u32) -> Self {
        self.limits.per_address.max_handshakes_per_second = per_second(rate, burst);
        self
    }

    /// Gives clients on this machine (127.0.0.0/8 and `::1`) the [limits of a client
    /// address](Self::max_pending_handshakes_per_address) too. By default they have none, because they
    /// are health checks, proxies and tests. Set it to try the limits out: on Linux, a client can use each address of
    /// 127.0.0.0/8.
    pub fn limit_loopback(mut self) -> Self {
        self.access.limits_loopback = true;
        self
    }

    /// Serves `/healthz` and `/readyz` on a listener of their own too, for orchestrators and operators. The address is
    /// an IP address with a port, for example `127.0.0.1:9000`; port 0 is any free port
    /// ([`Bound::operator_addr`](crate::Bound::operator_addr)). By default there is no such listener.
    ///
    /// The limits on players do not concern this listener, so a node whose other listener is flooded is still known to
    /// be alive. At most 32 sockets are served at once; then the oldest is cut off. Players must not reach it.
    ///
    /// ```
    /// # struct Game;
    /// # #[kengine::dispatcher]
    /// # impl Game { #[route] async fn ping(&self) {} }
    /// # use kengine::Server;
    /// let server = Server::new(Game).operate("127.0.0.1:9000");
    /// # let _ = server;
    /// ```
    ///
    /// Anything else than an address, such as a host name, is an error of [`bind`](Self::bind). So is an address that
    /// cannot be listened on.
    pub fn operate(mut self, address: impl Into<String>) -> Self {
        self.operator = Some(address.into());
        self
    }
}
