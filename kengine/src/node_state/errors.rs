//! Why a push was not queued, why a session was not extended, and why a connection could not join a room.

use crate::node_state::limits::{MAX_ROOM_NAME_LEN, MAX_ROOM_PREFIX_LEN};
use crate::protocol::Error;

/// Why a push was not queued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The connection has ended or is ending.
    #[error("the connection is closed")]
    Closed,
    /// The outbox is full. The connection is closed with 4002.
    #[error("the client reads too slowly, its outbox is full; the connection is closed with 4002")]
    TooSlow,
    /// The push has this number of bytes, more than an outbox may hold
    /// ([`Server::max_outbox_size`](crate::Server::max_outbox_size)). No connection got it.
    #[error("the push has {0} bytes, more than an outbox may hold")]
    TooLarge(usize),
    /// The other nodes of the cluster cannot be reached, or too many messages wait for them. The connections of this
    /// node got the push.
    #[error("other nodes cannot be reached; the connections of this node got the push")]
    Unavailable,
    /// The push cannot be written as JSON.
    #[error("the push cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
}

impl From<SendError> for Error {
    /// Becomes `unavailable` if other nodes cannot be reached, and `internal` otherwise. A client that has left or is
    /// too slow is not logged, because an operator need not act.
    fn from(error: SendError) -> Self {
        match error {
            SendError::Unavailable => Self::new("unavailable", error.to_string()),
            SendError::Closed | SendError::TooSlow => Self::new("internal", "internal error"),
            SendError::TooLarge(_) | SendError::Encode(_) => Self::internal(error),
        }
    }
}

/// Why a session was not [extended](crate::Connection::extend).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtendError {
    /// The time is not in the future. The session still expires when it would have expired anyway.
    #[error("a session can only be extended to a time in the future")]
    Past,
    /// The session has expired, or the connection has ended for another reason.
    #[error("the session has expired, or the connection is closed")]
    Closed,
}

impl From<ExtendError> for Error {
    /// Becomes `bad_request` if the time is not in the future. Otherwise nobody gets the error, because the connection
    /// has ended.
    fn from(error: ExtendError) -> Self {
        match error {
            ExtendError::Past => Self::new("bad_request", error.to_string()),
            ExtendError::Closed => SendError::Closed.into(),
        }
    }
}

/// Why a connection could not join a room.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The name of the room is empty or too long, or contains a [control character](crate::Uid).
    #[error("the name of a room has 1 to {MAX_ROOM_NAME_LEN} bytes and no control characters")]
    InvalidName,
    /// The prefix is empty, contains a [control character](crate::Uid), or leaves no space for the rest of a room's
    /// name.
    #[error("a prefix of rooms with seats has 1 to {MAX_ROOM_PREFIX_LEN} bytes and no control characters")]
    InvalidPrefix,
    /// The name of the room does not begin with the prefix of the rooms that are filled.
    #[error("the name of the room does not begin with the prefix of these rooms")]
    WrongPrefix,
    /// The connection is already in this number of rooms, the maximum.
    #[error("a connection is in at most {0} rooms; leave one first")]
    TooManyRooms(usize),
    /// The connection joins rooms too often ([`Server::max_joins_per_second`](crate::Server::max_joins_per_second)).
    #[error("the connection joins rooms too often; wait a moment")]
    TooOften,
    /// The room does not exist, and the node already has this number of rooms, the maximum
    /// ([`Server::max_rooms`](crate::Server::max_rooms)).
    #[error("the node has {0} rooms, which is its maximum; join one of them, or try again later")]
    NoMoreRooms(usize),
    /// All seats of the room, this number, are taken.
    #[error("all {0} seats are taken")]
    Full(usize),
    /// The cluster cannot be reached, so nobody knows which seats are free. The connection has not joined. See
    /// [`WhenAway`](crate::room::WhenAway).
    #[error("other nodes cannot be reached, so nobody knows which seats are free; try again in a moment")]
    SeatsUnknown,
    /// A [guard](crate::room::Join::guard) refused the join.
    #[error("{}", .0.message())]
    Refused(#[source] Error),
    /// The cluster cannot be reached. The connection has joined, but gets only the pushes of its own node until the
    /// cluster is back.
    #[error("other nodes cannot be reached; the connection has joined the room on its own node only")]
    Unavailable,
    /// The connection has ended.
    #[error("the connection is closed")]
    Closed,
}

impl From<JoinError> for Error {
    /// Becomes the guard's error if the guard refused, `bad_request` for a name that is invalid or has another prefix,
    /// or for too many rooms, `rate_limited` for too many joins in a short time, `full` if all seats are taken,
    /// `unavailable` if the node has too many rooms or the cluster cannot be reached, and `internal` otherwise.
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Refused(refused) => refused,
            JoinError::InvalidName | JoinError::WrongPrefix | JoinError::TooManyRooms(_) => {
                Self::new("bad_request", error.to_string())
            }
            JoinError::TooOften => Self::new("rate_limited", error.to_string()),
            JoinError::Full(_) => Self::new("full", error.to_string()),
            JoinError::NoMoreRooms(_) | JoinError::Unavailable | JoinError::SeatsUnknown => {
                Self::new("unavailable", error.to_string())
            }
            JoinError::InvalidPrefix => Self::internal(error),
            JoinError::Closed => SendError::Closed.into(),
        }
    }
}
