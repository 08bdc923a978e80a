//! The checks of a request to open a WebSocket (RFC 6455, section 4.2.1).

use hyper::header::{HOST, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::{HeaderMap, Method, Request, StatusCode, Version};

use crate::http::handshake::offered_subprotocols;
use crate::http::refusal::Refusal;

/// The only supported subprotocol.
const SUBPROTOCOL: &str = "kengine.v1.json";
/// The maximum total size of all header fields, in bytes. Larger requests are answered with 431.
const MAX_HEADERS_SIZE: usize = 16 * 1024;

/// Checks the total size of the header fields.
pub(crate) fn check_size(headers: &HeaderMap) -> Result<(), Refusal> {
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if size <= MAX_HEADERS_SIZE {
        return Ok(());
    }
    let message = format!("the header fields have {size} bytes; at most {MAX_HEADERS_SIZE} are allowed");
    Err(Refusal::with_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too_large", message))
}

/// Checks what RFC 6455, section 4.2.1, requires of a request.
pub(crate) fn check_upgrade(request: &Request<()>) -> Result<(), Refusal> {
    if request.method() != Method::GET {
        return Err(Refusal::method_not_allowed("GET"));
    }
    let headers = request.headers();
    let version = headers.get(SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes);
    let is_upgrade = request.version() == Version::HTTP_11 && fastwebsockets::upgrade::is_upgrade_request(request);
    if !is_upgrade || version.is_some_and(|version| version != b"13") {
        let message = "this is a WebSocket; request an upgrade with version 13";
        return Err(Refusal::with_status(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message)
            .header(UPGRADE, HeaderValue::from_static("websocket"))
            .header(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")));
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

/// Returns whether a key is 16 bytes in base64: 22 characters and padding.
fn is_key(key: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(is_base64)
}

/// Returns the subprotocol of the connection, or `None` if the client offers none. Refuses a client that offers only
/// other subprotocols, because a browser would drop the connection after `#[accept]` has run.
pub(crate) fn choose_subprotocol(headers: &HeaderMap) -> Result<Option<&'static str>, Refusal> {
    let mut offers = offered_subprotocols(headers).peekable();
    if offers.peek().is_none() {
        return Ok(None);
    }
    if offers.any(|offer| offer == SUBPROTOCOL.as_bytes()) {
        return Ok(Some(SUBPROTOCOL));
    }
    let message = format!("none of the offered subprotocols is supported; offer `{SUBPROTOCOL}`, or none");
    Err(Refusal::bad_request(message))
}
