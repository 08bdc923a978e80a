//! A test's client that can resume its session.

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::fmt;

use fastwebsockets::OpCode;

use crate::protocol::resumption::{Exchange, KeyedFrame, ResumeAnswer, parse_ack};
use crate::testing::wire;
use crate::websocket::Message;

/// The session of a client that can resume it.
pub(super) struct ClientSession {
    /// The token for the next time; empty before the first message of the server.
    token: String,
    /// Whether the session went on when the client came back last. `None` if it has never been away.
    resumed: Option<bool>,
    exchange: Exchange,
    /// The heartbeat and its answer, which are not counted.
    heartbeat: [Cow<'static, str>; 2],
}

/// A client whose connection was cut, from [`Client::cut`](super::Client::cut). It comes back by
/// [`Connect::resume`](super::Connect::resume).
#[derive(Debug)]
#[must_use = "a client that is away comes back by `Connect::resume`"]
pub struct AbsentClient {
    pub(super) session: ClientSession,
    pub(super) texts: VecDeque<String>,
    pub(super) binaries: VecDeque<Vec<u8>>,
    pub(super) next_id: u64,
}

impl ClientSession {
    pub(super) fn new(heartbeat: [Cow<'static, str>; 2]) -> Self {
        Self { token: String::new(), resumed: None, exchange: Exchange::default(), heartbeat }
    }

    /// Returns the parameters of the request with which the client comes back.
    pub(super) fn parameters(&self) -> String {
        format!("resume={}&received={}", self.token, self.exchange.received())
    }

    pub(super) fn resumed(&self) -> Option<bool> {
        self.resumed
    }

    /// Takes the first message of a connection, and sends again what the server lacks. Panics if it is not that
    /// message, which would be a fault of the server.
    pub(super) fn begin(&mut self, text: &str, out: &mut Vec<u8>) {
        let answer = ResumeAnswer::parse(text).unwrap_or_else(|| panic!("`{text}` came first"));
        self.token = answer.token;
        self.resumed = answer.resumed;
        match answer.received {
            Some(received) => {
                assert!(self.exchange.resume(received, HashSet::new()), "the server says it has received {received}");
                self.exchange.write_unacknowledged(out);
            }
            None => self.exchange = Exchange::default(),
        }
    }

    /// Counts a message of the server, and acknowledges when that is due. Returns `false` if it is not for the test.
    pub(super) fn receive(&mut self, message: Message<'_>, out: &mut Vec<u8>) -> bool {
        if message.as_bytes() == self.heartbeat[1].as_bytes() {
            return true;
        }
        if let Some(received) = parse_ack(message) {
            assert!(self.exchange.acknowledge(received).is_ok(), "the server says it has received {received}");
            return false;
        }
        self.exchange.record_received();
        if self.exchange.must_acknowledge() {
            self.acknowledge(out);
        }
        true
    }

    fn acknowledge(&mut self, out: &mut Vec<u8>) {
        if let Some(received) = self.exchange.take_ack() {
            wire::put(out, OpCode::Text, format!("{{\"ack\":{received}}}").as_bytes());
        }
    }

    /// Keeps a frame that is sent, unless it is a heartbeat.
    pub(super) fn send(&mut self, payload: &[u8], frame: &[u8]) {
        if payload != self.heartbeat[0].as_bytes() {
            self.exchange.record_sent(KeyedFrame::own(frame.to_vec(), None));
        }
    }
}

impl fmt::Debug for ClientSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSession").field("resumed", &self.resumed).finish_non_exhaustive()
    }
}
