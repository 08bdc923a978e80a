//! The limits that protect a server against its clients: how many there are, and what each of them sends and does.

use crate::dispatch::Dispatcher;
use crate::node_state::RateLimit;
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
    /// them to another node. A rate of `u32::MAX` means no limit; the least rate and burst are 1.
    pub fn max_handshakes_per_second(mut self, rate: u32, burst: u32) -> Self {
        self.limits.max_handshakes_per_second = RateLimit::new(rate, burst);
        self
    }

    /// Limits the rate of handshakes of one [client
    /// address](Self::max_pending_handshakes_per_address): `rate` a second, and `burst` at once after
    /// a pause. The default is 20 and 100. Further handshakes are refused with 429 `rate_limited`; while none may come,
    /// new sockets of the address are closed at once. Every request for a WebSocket counts, whatever the answer is, and
    /// so does a socket that ends without a request. Requests for pages do not count. A rate of `u32::MAX` means no
    /// limit; the least rate and burst are 1.
    pub fn max_handshakes_per_second_per_address(mut self, rate: u32, burst: u32) -> Self {
        self.limits.per_address.max_handshakes_per_second = RateLimit::new(rate, burst);
        self
    }

    /// Limits the messages of a client: after `burst` messages at once, `rate` a second are handled. The default is 100
    /// a second after a burst of 200. Heartbeats, answers to [questions](crate::Connection::ask) and invalid messages
    /// count too.
    ///
    /// A message beyond the limit is not handled, but answered with `rate_limited`. Refused messages have the same
    /// limit: a client that exceeds it with them too is closed with 4502. With the defaults, these are 200 refused
    /// messages at once, or more than 100 a second for long.
    ///
    /// For this limit and the other limits per second, a rate of `u32::MAX` means no limit, and the least rate and
    /// burst are 1. Input that the server reads late, for example because a handler ran, counts as if the client had
    /// sent it steadily since the server last waited for it.
    ///
    /// ```
    /// # struct Game;
    /// # #[kengine::dispatcher]
    /// # impl Game { #[route] async fn ping(&self) {} }
    /// # use kengine::Server;
    /// let server = Server::new(Game).max_messages_per_second(30, 60).max_bytes_per_second(u32::MAX, u32::MAX);
    /// # let _ = server;
    /// ```
    pub fn max_messages_per_second(mut self, rate: u32, burst: u32) -> Self {
        self.limits.rates.messages = RateLimit::new(rate, burst);
        self
    }

    /// Limits the bytes that a client sends, including the headers of frames: after `burst` bytes at once, `rate` a
    /// second are accepted. The default is 64 KiB a second after a burst of 256 KiB. The burst is at least
    /// [`max_message_size`](Self::max_message_size).
    ///
    /// Bytes are counted as they are read, up to 16 KiB at a time. When more than the limit has been read, messages
    /// that end in the next bytes are not handled, but answered with `rate_limited`. Refused bytes have the same limit:
    /// a client that exceeds it with them too is closed with 4502.
    pub fn max_bytes_per_second(mut self, rate: u32, burst: u32) -> Self {
        self.limits.rates.bytes = RateLimit::new(rate, burst);
        self
    }

    /// Limits the pings of a client, and its pongs that answer no ping of the server: after `burst` at once, `rate` a
    /// second are allowed. The default is 10 a second after a burst of 20. A client that exceeds the limit is closed
    /// with 4502, because RFC 6455 demands a pong for each ping (section 5.5.2).
    pub fn max_pings_per_second(mut self, rate: u32, burst: u32) -> Self {
        self.limits.rates.pings = RateLimit::new(rate, burst);
        self
    }

    /// Limits the rooms that a connection joins: after `burst` joins at once, `rate` a second are allowed. The default
    /// is 10 a second after a burst of 50. A join of a room that the connection is already in does not count. A join
    /// that a guard refuses counts. Further joins fail with [`JoinError::TooOften`](crate::room::JoinError::TooOften).
    pub fn max_joins_per_second(mut self, rate: u32, burst: u32) -> Self {
        self.limits.rates.joins = RateLimit::new(rate, burst);
        self
    }

    /// Limits the number of rooms on this node. The default is 200,000. A join that would create another room fails
    /// with [`JoinError::NoMoreRooms`](crate::room::JoinError::NoMoreRooms).
    pub fn max_rooms(mut self, rooms: usize) -> Self {
        self.limits.max_rooms = rooms;
        self
    }

    /// Limits the number of fragments of a message. The default is one for each 64 bytes of
    /// [`max_message_size`](Self::max_message_size), and at least 1,024; the minimum is 1. A message of more fragments
    /// closes the connection with 1009: the code for a message that is too big to process (RFC 6455, section 7.4.1).
    pub fn max_fragments_per_message(mut self, fragments: u32) -> Self {
        self.limits.max_fragments_per_message = Some(fragments);
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
}
