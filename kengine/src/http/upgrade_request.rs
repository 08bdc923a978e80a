//! The checks of a request to open a WebSocket (RFC 6455, section 4.2.1).

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING,
    UPGRADE,
};
use hyper::{HeaderMap, Method, Request, StatusCode, Version};

use crate::http::handshake::offered_subprotocols;
use crate::http::refusal::Refusal;
use crate::protocol::resumption::RESUME_SUBPROTOCOL;

/// The subprotocol that is always supported.
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

/// Checks what RFC 6455, section 4.2.1, requires of a request, except for the [host](super::target_host).
pub(crate) fn check_upgrade(request: &Request<()>) -> Result<(), Refusal> {
    if request.method() != Method::GET {
        return Err(Refusal::method_not_allowed("GET"));
    }
    let headers = request.headers();
    if request.version() != Version::HTTP_11
        || !lists(headers, CONNECTION, b"upgrade")
        || !lists(headers, UPGRADE, b"websocket")
    {
        return Err(upgrade_required());
    }
    match single(headers, SEC_WEBSOCKET_VERSION) {
        Some(b"13") => {}
        Some(_) => return Err(upgrade_required()),
        None => return Err(Refusal::bad_request("`Sec-WebSocket-Version` must be given once; it must be 13")),
    }
    if !single(headers, SEC_WEBSOCKET_KEY).is_some_and(is_key) {
        return Err(Refusal::bad_request("`Sec-WebSocket-Key` must be given once and hold 16 bytes in base64"));
    }
    check_no_body(headers)
}

fn upgrade_required() -> Refusal {
    let message = "this is a WebSocket; request an upgrade with version 13";
    Refusal::with_status(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message)
        .header(UPGRADE, HeaderValue::from_static("websocket"))
        .header(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
}

/// Returns whether a field, in one line or in several, lists a name in any case (RFC 9110, section 5.6.1).
fn lists(headers: &HeaderMap, field: HeaderName, name: &[u8]) -> bool {
    let mut fields = headers.get_all(field).iter();
    fields.any(|list| {
        list.as_bytes().split(|&byte| byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(name))
    })
}

/// Returns the value of a field, or `None` if it is missing or given several times.
fn single(headers: &HeaderMap, name: HeaderName) -> Option<&[u8]> {
    let mut fields = headers.get_all(name).iter();
    fields.next().filter(|_| fields.next().is_none()).map(HeaderValue::as_bytes)
}

/// Refuses a request with a body. The frames of the client would be taken for it, or it for frames.
fn check_no_body(headers: &HeaderMap) -> Result<(), Refusal> {
    let is_zero = |length: &HeaderValue| length.as_bytes() == b"0";
    if headers.contains_key(TRANSFER_ENCODING) || !headers.get_all(CONTENT_LENGTH).iter().all(is_zero) {
        let message = "a request for a WebSocket has no body; leave out `Content-Length` and `Transfer-Encoding`";
        return Err(Refusal::bad_request(message));
    }
    Ok(())
}

/// Returns whether a key is 16 bytes in base64: 22 characters and padding.
fn is_key(key: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(is_base64)
}

/// Returns the subprotocol of the connection, or `None` if the client offers none. If sessions can be resumed
/// (`resumes`), the subprotocol for that is preferred. Refuses a client that offers only other subprotocols, because a
/// browser would drop the connection after `#[accept]` has run.
pub(crate) fn choose_subprotocol(headers: &HeaderMap, resumes: bool) -> Result<Option<&'static str>, Refusal> {
    if offered_subprotocols(headers).next().is_none() {
        return Ok(None);
    }
    let is_offered = |name: &str| offered_subprotocols(headers).any(|offer| offer == name.as_bytes());
    if resumes && is_offered(RESUME_SUBPROTOCOL) {
        return Ok(Some(RESUME_SUBPROTOCOL));
    }
    if is_offered(SUBPROTOCOL) {
        return Ok(Some(SUBPROTOCOL));
    }
    let message = format!("none of the offered subprotocols is supported; offer `{SUBPROTOCOL}`, or none");
    Err(Refusal::bad_request(message))
}
