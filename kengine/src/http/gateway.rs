//! What a node tells the gateway that passed a request on.

use hyper::{HeaderMap, header::HeaderName};

use crate::http::refusal::Refusal;

/// The header field that a gateway adds to each request. It overwrites what the client sent there.
const FIELD: HeaderName = HeaderName::from_static("kengine-gateway");
/// The header field of nginx that makes it handle the request again, and the place in its configuration that picks
/// another node.
const ANOTHER_NODE: (HeaderName, &str) = (HeaderName::from_static("x-accel-redirect"), "@again");

/// Makes the gateway, if the request came through one, send the request to another node instead of passing the refusal
/// on to the client.
pub(crate) fn send_to_another_node(refusal: Refusal, request: &HeaderMap) -> Refusal {
    let (name, value) = ANOTHER_NODE;
    if request.contains_key(FIELD) { refusal.header(name, value) } else { refusal }
}

/// Whether the gateway sends the request to another node when it gets this refusal.
pub(crate) fn goes_to_another_node(refusal: &Refusal) -> bool {
    refusal.headers().contains_key(ANOTHER_NODE.0)
}
