//! The answer `101`, which accepts a handshake (RFC 6455, section 4.2.2).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SET_COOKIE, UPGRADE,
};
use hyper::{HeaderMap, Response, StatusCode};
use sha1::{Digest, Sha1};

use crate::http::refusal::Body;

/// What a server appends to the key of a client before it hashes it (RFC 6455, section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The answer `101`.
pub(crate) struct SwitchingProtocols {
    /// The 20 bytes of a SHA-1 hash in base64.
    accept: [u8; 28],
    subprotocol: Option<&'static str>,
    /// The cookies that a refusal sets.
    cookies: Vec<HeaderValue>,
}

impl SwitchingProtocols {
    /// Creates the answer to a request that [`check_upgrade`](super::check_upgrade) has let through.
    pub(crate) fn new(request: &HeaderMap, subprotocol: Option<&'static str>) -> Self {
        let key = request.get(SEC_WEBSOCKET_KEY).map_or(&[][..], HeaderValue::as_bytes);
        let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
        let mut accept = [0; 28];
        // Cannot fail: 20 bytes are 28 characters.
        let _ = BASE64_STANDARD.encode_slice(hash, &mut accept);
        Self { accept, subprotocol, cookies: Vec::new() }
    }

    /// Returns the answer with the cookies that these header fields set.
    pub(crate) fn with_cookies_of(self, headers: &HeaderMap) -> Self {
        Self { cookies: headers.get_all(SET_COOKIE).iter().cloned().collect(), ..self }
    }

    /// Returns the bytes of the answer, for a socket that no HTTP library serves.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(192);
        bytes.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n");
        let mut field = |name: &[u8], value: &[u8]| [name, value, b"\r\n"].map(|part| bytes.extend_from_slice(part));
        field(b"sec-websocket-accept: ", &self.accept);
        if let Some(subprotocol) = self.subprotocol {
            field(b"sec-websocket-protocol: ", subprotocol.as_bytes());
        }
        for cookie in &self.cookies {
            field(b"set-cookie: ", cookie.as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }

    /// Returns the answer, for the HTTP library that serves the socket.
    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        // Cannot fail: base64 is visible ASCII.
        headers.extend(HeaderValue::from_bytes(&self.accept).ok().map(|accept| (SEC_WEBSOCKET_ACCEPT, accept)));
        headers.extend(self.subprotocol.map(|name| (SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name))));
        headers.extend(self.cookies.into_iter().map(|cookie| (SET_COOKIE, cookie)));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455, section 1.3.
    #[test]
    fn both_forms_of_the_answer_have_the_same_fields() {
        for (subprotocol, cookies) in [(None, &[][..]), (Some("kengine.v1.json"), &["a=1", "b=2"])] {
            let request = HeaderMap::from_iter([(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap())]);
            let mut refusal = HeaderMap::new();
            for cookie in cookies {
                refusal.append(SET_COOKIE, HeaderValue::from_static(cookie));
            }
            let answer = SwitchingProtocols::new(&request, subprotocol).with_cookies_of(&refusal);
            let text = String::from_utf8(answer.to_bytes()).unwrap();
            let response = answer.into_response();
            let mut lines = text.strip_suffix("\r\n\r\n").unwrap().split("\r\n");
            assert_eq!(lines.next(), Some("HTTP/1.1 101 Switching Protocols"));
            let fields = response.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
            assert_eq!(lines.collect::<Vec<_>>(), fields.collect::<Vec<_>>());
            assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        }
    }
}
