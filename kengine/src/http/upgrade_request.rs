//! What a request must look like to become a WebSocket (RFC 6455, section 4.2.1).

use hyper::{
    HeaderMap, Method, Request, StatusCode, Version,
    header::{HOST, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE},
};

use crate::http::{handshake::offers, refusal::Refusal};

/// The subprotocol that names the default protocol, JSON.
const SUBPROTOCOL: &str = "kengine.v1.json";
/// The largest sum of all header fields, in bytes. Larger requests are answered with 431.
const MAX_HEADERS_SIZE: usize = 16 * 1024;

/// Refuses header fields that no honest client sends so many of.
pub(crate) fn check_size(headers: &HeaderMap) -> Result<(), Refusal> {
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if size <= MAX_HEADERS_SIZE {
        return Ok(());
    }
    let message = format!("the header fields add up to {size} bytes, {MAX_HEADERS_SIZE} are allowed");
    Err(Refusal::with_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too_large", message))
}

/// What RFC 6455, section 4.2.1 asks of the request.
pub(crate) fn check_upgrade(request: &Request<()>) -> Result<(), Refusal> {
    if request.method() != Method::GET {
        return Err(Refusal::method_not_allowed("GET"));
    }
    let headers = request.headers();
    let version = headers.get(SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes);
    let asks = request.version() == Version::HTTP_11 && fastwebsockets::upgrade::is_upgrade_request(request);
    if !asks || version.is_some_and(|version| version != b"13") {
        let message = "this is a WebSocket: ask for an upgrade, version 13";
        return Err(Refusal::with_status(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message)
            .with(UPGRADE, HeaderValue::from_static("websocket"))
            .with(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")));
    }
    if version.is_none() {
        return Err(Refusal::bad_request("`Sec-WebSocket-Version` is missing; it must be 13"));
    }
    // RFC 9112, section 3.2.
    if headers.get_all(HOST).iter().count() != 1 {
        return Err(Refusal::bad_request("`Host` must be given once"));
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
pub(crate) fn choose_subprotocol(headers: &HeaderMap) -> Result<Option<&'static str>, Refusal> {
    let mut offers = offers(headers).peekable();
    if offers.peek().is_none() {
        return Ok(None);
    }
    if offers.any(|offer| offer == SUBPROTOCOL.as_bytes()) {
        return Ok(Some(SUBPROTOCOL));
    }
    let message = format!("none of the offered subprotocols is spoken here; offer `{SUBPROTOCOL}`, or none");
    Err(Refusal::bad_request(message))
}
