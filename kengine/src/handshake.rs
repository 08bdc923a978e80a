//! HTTP/1.1 → WebSocket (RFC 6455, section 4.2), or a refusal.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Version,
    header::{
        ALLOW, CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN, RETRY_AFTER, SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
    upgrade::OnUpgrade,
};
use serde::Serialize;
use tracing::Instrument;

use crate::{
    Answer, Connection, Dispatcher,
    connection::{Life, Stream},
    endpoint::Endpoint,
    node::{Refused, Seat},
};

/// The body of every answer of ours: whole, in memory.
pub(crate) type Body = Full<Bytes>;

/// The subprotocol that names what is spoken without one: JSON as it is.
const SUBPROTOCOL: &str = "kengine.v1.json";
/// The most that the header fields of a request may add up to, in bytes; then 431.
const LARGEST_HEADERS: usize = 16 * 1024;

/// Which pages may open a connection, by the `Origin` that browsers send and other clients do not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    allowed: Vec<String>,
}

impl Origins {
    pub(crate) fn allow(&mut self, origin: String) {
        self.allowed.push(origin);
    }

    /// No origin, one of this host, or one that was allowed.
    fn admit(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN) else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        self.allowed.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
            || headers
                .get(HOST)
                .and_then(|host| host.to_str().ok())
                .is_some_and(|host| same_host(origin, host))
    }
}

/// Whether `origin` (RFC 6454, section 6.1: scheme, host, port) names the authority that `Host` gives.
fn same_host(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let bare =
        |authority: &'_ str| authority.strip_suffix(default_port).unwrap_or(authority).to_ascii_lowercase();
    bare(authority) == bare(host)
}

/// Why a request got no connection: a status and a JSON body.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), fields: Vec::new() }
    }

    fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(crate) fn method_not_allowed(allowed: &'static str) -> Self {
        let message = format!("only {allowed} is answered here");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
            .with(ALLOW, HeaderValue::from_static(allowed))
    }

    pub(crate) fn unavailable(message: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
            .with(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.fields.push((name, value));
        self
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        #[derive(Serialize)]
        struct Page<'a> {
            error: Shown<'a>,
        }
        #[derive(Serialize)]
        struct Shown<'a> {
            code: &'a str,
            message: &'a str,
        }
        let page = Page { error: Shown { code: self.code, message: &self.message } };
        // Two strings into memory: neither the writer nor the value has a way to fail.
        let mut response = Response::new(Full::from(serde_json::to_vec(&page).unwrap_or_default()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(self.fields.into_iter().map(|(name, value)| (Some(name), value)));
        response
    }
}

/// Answers a request to open a connection: with `101`, behind which the connection lives in a task of its own, or
/// with a refusal.
pub(crate) fn upgrade<D: Dispatcher<Session = ()>, B>(
    endpoint: &Arc<Endpoint<D>>,
    request: &mut Request<B>,
    peer: Option<SocketAddr>,
) -> Response<Body> {
    match admit(endpoint, request) {
        Ok((response, upgraded, seat)) => {
            // Boxed: what the opening needs is not kept by the life that follows.
            let opening = Box::pin(open(Arc::clone(endpoint), upgraded, seat, peer));
            let life = async move {
                if let Some(life) = opening.await {
                    life.live().await;
                }
            };
            tokio::spawn(life.instrument(tracing::debug_span!("connection", ?peer)));
            response
        }
        Err(refusal) => {
            tracing::debug!(?peer, status = refusal.status.as_u16(), message = refusal.message, "refused");
            refusal.into_response()
        }
    }
}

type Admitted = (Response<Body>, OnUpgrade, Seat);

fn admit<D, B>(endpoint: &Endpoint<D>, request: &mut Request<B>) -> Result<Admitted, Refusal> {
    check_size(request.headers())?;
    check_upgrade(request)?;
    if !endpoint.origins.admit(request.headers()) {
        let message = "this origin may not connect; `Server::origins` allows it";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", message));
    }
    let subprotocol = choose_subprotocol(request.headers())?;
    let seat = endpoint.node.seat().map_err(|refused| match refused {
        Refused::Full => Refusal::unavailable("this node is full"),
        Refused::Draining => Refusal::unavailable("this node is draining"),
    })?;
    // Taken before fastwebsockets would: its own future wraps the socket with a read buffer that is not ours.
    let upgraded = hyper::upgrade::on(&mut *request);
    let (response, _) =
        fastwebsockets::upgrade::upgrade(request).map_err(|error| Refusal::bad_request(error.to_string()))?;
    let mut response = response.map(|_| Full::default());
    if let Some(subprotocol) = subprotocol {
        let subprotocol = HeaderValue::from_static(subprotocol);
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    Ok((response, upgraded, seat))
}

/// Refuses header fields that no honest client sends so many of.
pub(crate) fn check_size(headers: &HeaderMap) -> Result<(), Refusal> {
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if size <= LARGEST_HEADERS {
        return Ok(());
    }
    let message = format!("the header fields add up to {size} bytes, {LARGEST_HEADERS} are allowed");
    Err(Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too_large", message))
}

/// What RFC 6455, section 4.2.1 asks of the request.
fn check_upgrade<B>(request: &Request<B>) -> Result<(), Refusal> {
    if request.method() != Method::GET {
        return Err(Refusal::method_not_allowed("GET"));
    }
    let headers = request.headers();
    let version = headers.get(SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes);
    let asks = request.version() == Version::HTTP_11 && fastwebsockets::upgrade::is_upgrade_request(request);
    if !asks || version.is_some_and(|version| version != b"13") {
        let message = "this is a WebSocket: ask for an upgrade, version 13";
        return Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message)
            .with(UPGRADE, HeaderValue::from_static("websocket"))
            .with(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")));
    }
    if version.is_none() {
        return Err(Refusal::bad_request("`Sec-WebSocket-Version` is missing; it must be 13"));
    }
    if headers.get(HOST).is_none() {
        return Err(Refusal::bad_request("`Host` is missing"));
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    match (keys.next(), keys.next()) {
        (Some(key), None) if is_key(key.as_bytes()) => Ok(()),
        _ => Err(Refusal::bad_request("`Sec-WebSocket-Key` must be given once and hold 16 bytes in base64")),
    }
}

/// Sixteen bytes in base64: 22 characters and the padding.
fn is_key(key: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(is_base64)
}

/// The subprotocol to speak: none when none is offered. One that is not ours is refused, since a browser would drop
/// the connection after the dispatcher had already seen it.
fn choose_subprotocol(headers: &HeaderMap) -> Result<Option<&'static str>, Refusal> {
    let mut offers = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .peekable();
    if offers.peek().is_none() {
        return Ok(None);
    }
    if offers.any(|offer| offer == SUBPROTOCOL.as_bytes()) {
        return Ok(Some(SUBPROTOCOL));
    }
    let message = format!("none of the offered subprotocols is spoken here; offer `{SUBPROTOCOL}`, or none");
    Err(Refusal::bad_request(message))
}

/// Makes the connection as soon as `101` is written, and handles what came with the request.
async fn open<D: Dispatcher<Session = ()>>(
    endpoint: Arc<Endpoint<D>>,
    upgraded: OnUpgrade,
    seat: Seat,
    peer: Option<SocketAddr>,
) -> Option<Box<Life<D>>> {
    let upgraded = match upgraded.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            tracing::debug!(?peer, %error, "the client left during the handshake");
            return None;
        }
    };
    let (stream, mut first) = Stream::new(upgraded);
    let connection = Connection::new(Arc::clone(&endpoint.node), (), peer, const { &D::SYNTAX });
    tracing::debug!(connection = %connection.id(), ?peer, "open");
    let mut life = Life::new(endpoint, connection, stream, seat);
    if !first.is_empty() {
        life.handle(&mut first, &mut Answer::default()).await;
    }
    Some(life)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_of_this_host_whatever_the_case_and_the_default_port() {
        for (origin, host, same) in [
            ("http://127.0.0.1:8000", "127.0.0.1:8000", true),
            ("https://game.example", "game.example", true),
            ("https://Game.Example", "game.example:443", true),
            ("http://game.example:80", "game.example", true),
            ("http://game.example", "game.example:8080", false),
            ("http://game.example:443", "game.example", false),
            ("https://game.example.evil.example", "game.example", false),
            ("https://evil.example", "game.example", false),
            ("null", "game.example", false),
            ("file://", "", false),
            ("http://[::1]:8000", "[::1]:8000", true),
        ] {
            assert_eq!(same_host(origin, host), same, "{origin} at {host}");
        }
    }
}
