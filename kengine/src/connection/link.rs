//! The link to a client: what carries its bytes, how much it sends and when, and its registration with the node.

use crate::connection::input_rates::{Allowance, InputRates};
use crate::connection::transport::Transport;
use crate::node::Node;
use crate::node::admission::Registration;

/// The link to a client. It has a box of its own because an idle connection then takes less memory: tokio aligns its
/// own two allocations for a connection to 128 bytes, and glibc leaves a gap of 104 bytes after each, in which the link
/// fits.
pub(super) struct Link {
    pub(super) transport: Transport,
    rates: InputRates,
    /// When bytes last came, in nanoseconds of the node's clock, which is read for it once per read.
    read_at: u64,
    /// Ends with the connection. It is dropped after the transport, so that the slot of the connection is free only
    /// once the socket is closed.
    pub(super) registration: Registration,
}

impl Link {
    /// Creates the link, and starts to watch the client's silence.
    pub(super) fn new(transport: Transport, registration: Registration) -> Self {
        let now = registration.node().clock.now();
        registration.silence().start(now);
        registration.watch();
        Self { transport, rates: InputRates::new(), read_at: now, registration }
    }

    #[inline]
    pub(super) fn node(&self) -> &Node {
        self.registration.node()
    }

    /// Returns when the client's bytes were last read, on the node's clock.
    #[inline]
    pub(super) fn read_at(&self) -> u64 {
        self.read_at
    }

    /// Counts bytes that were just read.
    #[inline]
    pub(super) fn count_read(&mut self, bytes: usize) -> Allowance {
        let node = self.registration.node();
        self.read_at = node.clock.now();
        self.rates.read(bytes, self.read_at, &node.limits.rates)
    }

    /// Counts a message that was in the bytes that were last read.
    #[inline]
    pub(super) fn count_message(&mut self) -> Allowance {
        self.rates.message(self.read_at, &self.registration.node().limits.rates)
    }

    /// Counts a ping, or a pong that answers no ping of ours, like [`count_message`](Self::count_message). Returns
    /// whether the limit allows it.
    pub(super) fn count_ping(&mut self) -> bool {
        self.rates.ping(self.read_at, &self.registration.node().limits.rates)
    }

    /// Records that everything that the client has sent so far is read.
    #[inline]
    pub(super) fn input_is_empty(&mut self) {
        self.rates.input_is_empty();
    }

    /// Records that input may wait for the server from now on.
    pub(super) fn input_waits(&mut self) {
        let node = self.registration.node();
        self.rates.input_waits(|| node.clock.now());
    }
}
