//! What the hooks of a block are told.

use std::fmt;

use crate::{Close, CloseCode, Envelope};

/// The call that a `#[before]` hook may refuse: a request that found its route and passed the route's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// The name of the route as the client writes it, behind the `prefix` of its block: `"combat.attack"`.
    pub route: &'static str,
    /// The size of the whole message, in bytes.
    pub size: usize,
}

impl Call {
    pub(crate) fn new(route: &'static str, envelope: Option<&Envelope<'_>>) -> Self {
        Self { route, size: envelope.map_or(0, Envelope::size) }
    }
}

/// Why a connection has ended: what `#[close]` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The client sent a close frame, with a code and a reason or without.
    Client(Option<Close>),
    /// The socket ended, or broke, without a close frame.
    Lost,
    /// The client broke RFC 6455, sent what is not UTF-8, or too large a message; it was told by 1002, 1007 or 1009.
    Violation(Close),
    /// Nothing was heard for the idle time: 4001.
    HeartbeatTimeout,
    /// The outbox ran over because the client read too slowly: 4002.
    TooSlow,
    /// The node drains: 4000.
    Draining,
    /// The server closed it: a handler, a hook, or whoever holds the connection.
    Server(Close),
    /// The drain's deadline passed, or a second signal came: the connection was cut off.
    CutOff,
}

impl DisconnectReason {
    /// The code of the close frame that was sent or came; `None` if there was none.
    pub fn code(&self) -> Option<CloseCode> {
        match self {
            Self::Client(close) => close.as_ref().map(Close::code),
            Self::Violation(close) | Self::Server(close) => Some(close.code()),
            Self::HeartbeatTimeout => Some(CloseCode::HEARTBEAT_TIMEOUT),
            Self::TooSlow => Some(CloseCode::TOO_SLOW),
            Self::Draining => Some(CloseCode::DRAINING),
            Self::Lost | Self::CutOff => None,
        }
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (words, close) = match self {
            Self::Client(close) => ("closed by the client", close.as_ref()),
            Self::Lost => ("lost", None),
            Self::Violation(close) => ("protocol violation", Some(close)),
            Self::HeartbeatTimeout => ("heartbeat timeout", None),
            Self::TooSlow => ("too slow", None),
            Self::Draining => ("draining", None),
            Self::Server(close) => ("closed by the server", Some(close)),
            Self::CutOff => ("cut off", None),
        };
        f.write_str(words)?;
        close.map_or(Ok(()), |close| write!(f, ": {} {:?}", close.code().get(), close.reason()))
    }
}
