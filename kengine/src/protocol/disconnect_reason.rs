//! Why a connection has ended.

use std::fmt;

use crate::websocket::{Close, CloseCode};

/// Why a connection has ended: passed to `#[close]`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The client sent a close frame, with or without a code and a reason.
    Client(Option<Close>),
    /// The socket ended or failed without a close frame.
    Lost,
    /// The client violated RFC 6455, sent text that is not UTF-8, or sent a message that is too large or has too many
    /// fragments. It was closed with 1002, 1007 or 1009.
    Violation(Close),
    /// The client was silent for the idle timeout. It was closed with 4001.
    HeartbeatTimeout,
    /// The client read too slowly: its outbox overflowed, or its backlog was the largest when the node needed memory.
    /// It was closed with 4002, or cut off if more than 128 KiB were unsent. Also if the client was away, its session
    /// waited to be [resumed](crate::Server::resume_within), and more was sent to it than its outbox holds.
    TooSlow,
    /// The client sent more than the [rates](crate::Server::max_messages_per_second) of the server allow, and went on
    /// when it was refused. It was closed with 4502.
    RateLimited,
    /// The node is draining. The client was closed with 4000.
    Draining,
    /// A newer connection of the user, on this node or another one, has the uid. This one was closed with 4500. The
    /// newer one may have ended since then; [`User::is_here`](crate::room::User::is_here) tells.
    Replaced,
    /// The session has [expired](crate::Session::expires). The client was closed with 4003.
    Expired,
    /// The server closed the connection: a handler, a hook or another task closed it, `#[open]` failed, the user was
    /// kicked, or an older connection [keeps](crate::Duplicates::Refuse) the uid.
    Server(Close),
    /// The connection was cut, and the client did not [resume](crate::Server::resume_within) its session in time, or
    /// could not, because it lacks messages that were not kept.
    NotResumed,
    /// The drain's deadline passed or a second signal came: the connection was cut off.
    CutOff,
}

impl DisconnectReason {
    /// Returns the code of the close frame that was sent or received; `None` if there was none.
    pub fn code(&self) -> Option<CloseCode> {
        self.close_frame().map(|close| close.code())
    }

    /// Returns the close frame that belongs to this reason; `None` stands for one without a code, or for none. A
    /// client's close is answered with its own code (RFC 6455, section 5.5.1).
    pub(crate) fn close_frame(&self) -> Option<Close> {
        let (code, text) = match self {
            Self::Client(close) => return close.clone(),
            Self::Violation(close) | Self::Server(close) => return Some(close.clone()),
            Self::HeartbeatTimeout => (CloseCode::HEARTBEAT_TIMEOUT, "heartbeat timeout"),
            Self::TooSlow => (CloseCode::TOO_SLOW, "too slow"),
            Self::RateLimited => (CloseCode::RATE_LIMIT, "rate limit"),
            Self::Draining => (CloseCode::DRAINING, "draining"),
            Self::Replaced => (CloseCode::REPLACED, "replaced by a newer connection"),
            Self::Expired => (CloseCode::EXPIRED, "session expired"),
            Self::Lost | Self::NotResumed | Self::CutOff => return None,
        };
        Some(Close::new(code, text))
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(None) => f.write_str("closed by the client"),
            Self::Client(Some(close)) => write!(f, "closed by the client: {close}"),
            Self::Lost => f.write_str("lost"),
            Self::Violation(close) => write!(f, "protocol violation: {close}"),
            Self::HeartbeatTimeout => f.write_str("heartbeat timeout"),
            Self::TooSlow => f.write_str("too slow"),
            Self::RateLimited => f.write_str("rate limit"),
            Self::Draining => f.write_str("draining"),
            Self::Replaced => f.write_str("replaced by a newer connection"),
            Self::Expired => f.write_str("session expired"),
            Self::Server(close) => write!(f, "closed by the server: {close}"),
            Self::NotResumed => f.write_str("not resumed"),
            Self::CutOff => f.write_str("cut off"),
        }
    }
}
