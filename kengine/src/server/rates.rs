//! The setters of the limits on what clients send and do in a second, and on what that may create.

use super::Server;
use crate::dispatch::Dispatcher;
use crate::node_state::RateLimit;

impl<D: Dispatcher> Server<D> {
    /// Limits the messages of a client: after `burst` messages at once, `rate` a second are handled. The default is 100
    /// a second after a burst of 200. Heartbeats, answers to [questions](crate::Connection::ask) and invalid messages
    /// count too.
    ///
    /// A message beyond the limit is not handled, but answered with `rate_limited`. Refused messages have the same
    /// limit: a client that exceeds it with them too is closed with 4502. With the defaults, these are 200 refused
    /// messages at once, or more than 100 a second for long.
    ///
    /// For this limit and the other limits per second, a rate of `u32::MAX` means no limit, and the least rate and burst
    /// are 1. Input that the server reads late, for example because a handler ran, counts as if the client had sent it
    /// steadily since the server last waited for it.
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
    /// Bytes are counted as they are read, up to 16 KiB at a time. When more than the limit has been read, messages that
    /// end in the next bytes are not handled, but answered with `rate_limited`. Refused bytes have the same limit: a
    /// client that exceeds it with them too is closed with 4502.
    pub fn max_bytes_per_second(mut self, rate: u32, burst: u32) -> Self {
        self.limits.rates.bytes = RateLimit::new(rate, burst);
        self
    }

    /// Limits the pings of a client, and its pongs that answer no ping of the server: after `burst` at once, `rate` a
    /// second are allowed. The default is 10 a second after a burst of 20. A client that exceeds the limit is closed with
    /// 4502, because RFC 6455 demands a pong for each ping (section 5.5.2).
    pub fn max_pings_per_second(mut self, rate: u32, burst: u32) -> Self {
        self.limits.rates.pings = RateLimit::new(rate, burst);
        self
    }

    /// Limits the rooms that a connection joins: after `burst` joins at once, `rate` a second are allowed. The default
    /// is 10 a second after a burst of 50. A join of a room in which the connection already is does not count. Further
    /// joins fail with [`JoinError::TooOften`](crate::room::JoinError::TooOften).
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

    /// Limits the number of fragments of a message. The default is 1,024, the minimum 1. A message of more fragments
    /// closes the connection with 1009: the code for a message that is too big to process (RFC 6455, section 7.4.1).
    pub fn max_fragments_per_message(mut self, fragments: u32) -> Self {
        self.limits.message.max_fragments = fragments;
        self
    }
}
