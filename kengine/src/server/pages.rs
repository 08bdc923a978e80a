//! The plain pages of a server: those of the user, and those for orchestrators.

use std::fmt;

use bytes::Bytes;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use crate::http::{Body, Refusal};
use crate::node::Node;
use crate::node_state::Status;

/// A page whose content does not change.
#[derive(Clone)]
pub(super) struct Page {
    content_type: HeaderValue,
    body: Bytes,
}

impl Page {
    pub(super) fn new(content_type: HeaderValue, body: Bytes) -> Self {
        Self { content_type, body }
    }

    pub(super) fn text(body: &'static str) -> Self {
        Self::new(HeaderValue::from_static("text/plain; charset=utf-8"), Bytes::from_static(body.as_bytes()))
    }

    fn json(body: &'static str) -> Self {
        Self::new(HeaderValue::from_static("application/json"), Bytes::from_static(body.as_bytes()))
    }

    /// Returns the page as a response. In a response to HEAD, hyper leaves the body out.
    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::new(self.body));
        response.headers_mut().insert(CONTENT_TYPE, self.content_type);
        response
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {} bytes", self.content_type, self.body.len())
    }
}

/// Returns the page `/readyz`: whether the node takes players.
///
/// A node that cannot reach Redis still takes players. If it did not, orchestrators would take all nodes out of service
/// as soon as Redis fails.
pub(super) fn readiness(node: &Node) -> Result<Page, Refusal> {
    if node.is_draining() {
        return Err(Refusal::unavailable("this node is draining"));
    }
    match node.cluster.status() {
        Status::Listed | Status::Unlisted => Ok(Page::text("ready\n")),
        Status::Away => Ok(Page::json("{\"directory\":\"away\"}\n")),
        Status::Expired => Ok(Page::json("{\"directory\":\"away\",\"lease\":\"expired\"}\n")),
        Status::Joining => Err(Refusal::unavailable("this node is not in the directory yet")),
        Status::Fenced => Err(Refusal::unavailable("another process has this node's address")),
    }
}
