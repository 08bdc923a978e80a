//! How a client is told that it may not connect.

use hyper::HeaderMap;
use hyper::header::{ORIGIN, SEC_WEBSOCKET_PROTOCOL};

/// How a client is told that `#[accept]` or a limit has refused its request to open a connection. See
/// [`Server::tell_refusals`](crate::Server::tell_refusals).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalForm {
    /// By a close code if the client is a page in a browser, which sends `Origin`, or if it offers the subprotocol
    /// `kengine.v1.json` or `kengine.v1.resume.json`, and by an HTTP status otherwise. A page cannot read the status:
    /// for each of them its `WebSocket` reports 1006, as if the network had failed.
    #[default]
    ByClient,
    /// By an HTTP status, whatever the client is.
    Status,
}

impl RefusalForm {
    /// Whether the client that has sent this request is told by a close code. Another subprotocol alone is refused
    /// before.
    pub(crate) fn is_close(self, request: &HeaderMap) -> bool {
        match self {
            Self::ByClient => request.contains_key(ORIGIN) || request.contains_key(SEC_WEBSOCKET_PROTOCOL),
            Self::Status => false,
        }
    }
}
