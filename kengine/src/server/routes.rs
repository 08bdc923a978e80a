//! What is served at which path: endpoints and plain pages.

use std::{borrow::Cow, collections::HashMap, fmt, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
};

use crate::{
    http::{
        refusal::{Body, Refusal},
        upgrade_request::check_size,
    },
    local::{cluster_interface::Status, counters::Count},
    node::Node,
    server::any_endpoint::AnyEndpoint,
};

/// What a server serves.
#[derive(Debug)]
pub(crate) struct Routes {
    pub(crate) node: Arc<Node>,
    pub(super) endpoints: HashMap<Cow<'static, str>, Arc<dyn AnyEndpoint>>,
    pub(super) pages: HashMap<Cow<'static, str>, Page>,
}

pub(super) struct Page {
    content_type: HeaderValue,
    body: Bytes,
}

impl Page {
    pub(super) fn new(content_type: HeaderValue, body: Bytes) -> Self {
        Self { content_type, body }
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {} bytes", self.content_type, self.body.len())
    }
}

impl Routes {
    /// The endpoint at this path.
    pub(crate) fn endpoint(&self, path: &str) -> Option<&Arc<dyn AnyEndpoint>> {
        self.endpoints.get(path)
    }

    /// A page, or what becomes of a request for a connection.
    pub(super) async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        match self.endpoint(request.uri().path()) {
            Some(endpoint) => endpoint.upgrade(request.map(drop), Some(peer)).await,
            None => self.page(&request).unwrap_or_else(Refusal::into_response),
        }
    }

    /// What was counted, per route.
    pub(super) fn counts(&self) -> impl Iterator<Item = (Count, &'static str)> {
        self.endpoints.values().flat_map(|endpoint| endpoint.counts())
    }

    fn page(&self, request: &Request<Incoming>) -> Result<Response<Body>, Refusal> {
        check_size(request.headers())?;
        let path = request.uri().path();
        let (content_type, body) = match self.pages.get(path) {
            Some(page) => (page.content_type.clone(), page.body.clone()),
            None if path == "/healthz" => (PLAIN, Bytes::from_static(b"ok\n")),
            None if path == "/readyz" && self.node.is_draining() => {
                return Err(Refusal::unavailable("this node is draining"));
            }
            None if path == "/readyz" => match self.node.cluster().status() {
                Status::Listed | Status::Unlisted => (PLAIN, Bytes::from_static(b"ready\n")),
                // Taken out by every orchestrator at once, all nodes would be gone with Redis.
                Status::Away => (JSON, Bytes::from_static(b"{\"directory\":\"away\"}\n")),
                Status::Expired => {
                    (JSON, Bytes::from_static(b"{\"directory\":\"away\",\"lease\":\"expired\"}\n"))
                }
                Status::Joining => return Err(Refusal::unavailable("this node is not in the directory yet")),
                Status::Fenced => {
                    return Err(Refusal::unavailable("another process has this node's address"));
                }
            },
            None => {
                let mut paths: Vec<_> = self.endpoints.keys().map(|path| format!("`{path}`")).collect();
                paths.sort_unstable();
                let message = format!("there is nothing here; the WebSocket is at {}", paths.join(" and "));
                return Err(Refusal::with_status(StatusCode::NOT_FOUND, "not_found", message));
            }
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Refusal::method_not_allowed("GET, HEAD"));
        }
        // For HEAD hyper sends the header and leaves the body out.
        let mut response = Response::new(Body::new(body));
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        Ok(response)
    }
}

/// The content types of our own pages.
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
