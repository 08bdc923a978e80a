//! How much a client sends in a second, and what happens beyond the limits.
//!
//! A message costs one step of a leaky bucket, and the clock is read once per read from the socket.

use crate::node_state::{Bucket, ClientRates, Limit, Sent};

/// Stands for the time at which the next input will come.
const WAITING: u64 = u64::MAX;

/// What a client has sent, compared with its limits.
pub(super) struct InputRates {
    /// No byte that is read now was sent before this time of the node's clock, in nanoseconds: the time of the first
    /// read since the server last found no input, or [`WAITING`] if there was none. So a client is not blamed when the
    /// server reads late.
    after: u64,
    messages: Bucket,
    bytes: Bucket,
    /// Present once the client has sent any of it.
    unusual: Option<Box<UnusualInput>>,
}

/// What most clients never send.
#[derive(Default)]
struct UnusualInput {
    /// Pings, and pongs that answer no ping.
    pings: Bucket,
    /// Messages that were refused.
    refused_messages: Bucket,
    /// Bytes that were refused.
    refused_bytes: Bucket,
    /// Whether the bytes that were read last exceed the limit.
    is_over: bool,
}

/// Whether the limits allow what a client has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowance {
    Granted,
    /// It is not handled, because of this limit.
    Refused(Limit),
    /// The client must be closed: so much was refused that it exceeds the limit too.
    Exhausted(Limit),
}

impl InputRates {
    pub(super) fn new() -> Self {
        let [messages, bytes] = [Bucket::default(); 2];
        Self { after: WAITING, messages, bytes, unusual: None }
    }

    /// Records that everything that the client has sent so far is read.
    #[inline]
    pub(super) fn input_is_empty(&mut self) {
        self.after = WAITING;
    }

    /// Records that input may wait for the server from now on. `now` is called only if none has waited so far.
    pub(super) fn input_waits(&mut self, now: impl FnOnce() -> u64) {
        if self.after == WAITING {
            self.after = now();
        }
    }

    /// Counts bytes that were just read.
    #[inline]
    pub(super) fn read(&mut self, bytes: usize, now: u64, limits: &ClientRates) -> Allowance {
        self.input_waits(|| now);
        let sent = self.sent(now);
        let fits = self.bytes.add_many(bytes, limits.bytes, sent);
        if fits && self.unusual.is_none() { Allowance::Granted } else { self.read_unusual(bytes, fits, limits, sent) }
    }

    /// Counts bytes of a client that has sent something unusual, or sends it now.
    #[cold]
    fn read_unusual(&mut self, bytes: usize, fits: bool, limits: &ClientRates, sent: Sent) -> Allowance {
        let unusual = self.unusual();
        unusual.is_over = !fits;
        if fits {
            Allowance::Granted
        } else if unusual.refused_bytes.add_many(bytes, limits.bytes, sent) {
            Allowance::Refused(Limit::BytesPerSecond)
        } else {
            Allowance::Exhausted(Limit::BytesPerSecond)
        }
    }

    /// Counts a message that was read at `now`.
    #[inline]
    pub(super) fn message(&mut self, now: u64, limits: &ClientRates) -> Allowance {
        let sent = self.sent(now);
        let is_over = self.unusual.as_ref().is_some_and(|unusual| unusual.is_over);
        if !is_over && self.messages.add(limits.messages, sent) {
            return Allowance::Granted;
        }
        self.refuse(is_over, limits, sent)
    }

    /// Counts a message that the limits do not allow.
    #[cold]
    fn refuse(&mut self, is_over: bool, limits: &ClientRates, sent: Sent) -> Allowance {
        let limit = if is_over { Limit::BytesPerSecond } else { Limit::MessagesPerSecond };
        if self.unusual().refused_messages.add(limits.messages, sent) {
            Allowance::Refused(limit)
        } else {
            Allowance::Exhausted(limit)
        }
    }

    /// Counts a ping, or a pong that answers no ping of the server. Returns whether the limit allows it.
    pub(super) fn ping(&mut self, now: u64, limits: &ClientRates) -> bool {
        let sent = self.sent(now);
        self.unusual().pings.add(limits.pings, sent)
    }

    fn unusual(&mut self) -> &mut UnusualInput {
        self.unusual.get_or_insert_default()
    }

    fn sent(&self, now: u64) -> Sent {
        // Input that came with the handshake precedes the first read.
        Sent { after: self.after.min(now), before: now }
    }
}
