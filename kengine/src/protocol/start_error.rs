//! Why a server, a hub or a gateway could not start.

use std::{error::Error as StdError, fmt, io};

use crate::protocol::error::write_causes;

/// Why a server could not start, a [`Hub`](crate::Hub) could not connect, or a gateway's files could not be written.
///
/// It is for the operator: unlike [`Error`](crate::Error) it never becomes a reply to a client, so `?` on it does not
/// compile in a handler. `main` returns it:
///
/// ```no_run
/// # struct Game;
/// # #[kengine::dispatcher]
/// # impl Game { #[route] async fn ping(&self) {} }
/// #[tokio::main]
/// async fn main() -> Result<(), kengine::StartError> {
///     kengine::Server::new(Game).bind("127.0.0.1:8000").await?.serve().await
/// }
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration contradicts itself or can match no request. The text lists all mistakes, separated by `; `.
    #[error("{0}")]
    Config(String),
    /// The address could not be resolved or listened on.
    #[error("cannot listen on {address}{}", hint(source))]
    Bind {
        /// The address as it was given.
        address: String,
        /// What the operating system reported.
        source: io::Error,
    },
    /// The process could not register its signal handlers.
    #[error("cannot listen for SIGTERM and SIGINT")]
    Signals(#[source] io::Error),
    /// The configuration of Redis is invalid.
    #[error("{reason}")]
    Redis {
        /// What is wrong, and what to write instead.
        reason: String,
        /// What the Redis client reported, if it found the mistake.
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
    /// Redis did not answer.
    #[error("Redis cannot be reached")]
    RedisUnreachable,
    /// The gateway's files could not be created.
    #[error("{reason}")]
    Gateway {
        /// What is wrong, and what to write instead.
        reason: String,
        /// What the operating system reported, if a file could not be written.
        source: Option<io::Error>,
    },
}

fn hint(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::AddrInUse { "; another server listens there" } else { "" }
}

#[cfg(feature = "redis")]
impl StartError {
    pub(crate) fn redis(reason: impl Into<String>) -> Self {
        Self::Redis { reason: reason.into(), source: None }
    }

    pub(crate) fn gateway(reason: impl Into<String>) -> Self {
        Self::Gateway { reason: reason.into(), source: None }
    }
}

/// Shows the message, then each cause on its own line, because this is what a program prints if `main` returns the
/// error.
impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        write_causes(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_is_explained() {
        let shown = |kind: io::ErrorKind| {
            StartError::Bind { address: "127.0.0.1:80".to_owned(), source: kind.into() }.to_string()
        };
        assert_eq!(shown(io::ErrorKind::AddrInUse), "cannot listen on 127.0.0.1:80; another server listens there");
        assert_eq!(shown(io::ErrorKind::PermissionDenied), "cannot listen on 127.0.0.1:80");
    }
}
