//! Why a push was not queued.

use crate::language::error::Error;

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
    /// ([`Server::max_outbox_size`](crate::Server::max_outbox_size)). It was sent to no connection.
    #[error("the push has {0} bytes, more than an outbox may hold")]
    TooLarge(usize),
    /// The other nodes of the cluster cannot be reached, or too many messages wait for them. The connections of this node
    /// got the push.
    #[error("other nodes cannot be reached; the connections of this node got the push")]
    Unavailable,
    /// The push cannot be written as JSON.
    #[error("the push cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
}

impl From<SendError> for Error {
    /// Becomes `unavailable` if other nodes cannot be reached, and `internal` otherwise. A client that has left or is too
    /// slow needs no operator, so that is not logged.
    fn from(error: SendError) -> Self {
        match error {
            SendError::Unavailable => Self::new("unavailable", error.to_string()),
            SendError::Closed | SendError::TooSlow => Self::new("internal", "internal error"),
            SendError::TooLarge(_) | SendError::Encode(_) => Self::internal(error),
        }
    }
}
