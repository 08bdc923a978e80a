//! Reads the head of a plain handshake where it stands in the read buffer, because hyper costs as much as the rest of a
//! connection.
//!
//! Only what needs no further rule of HTTP is read here: a complete `GET` of HTTP/1.1 without a body. hyper reads every
//! other request, such as an incomplete or a malformed one, so that it alone decides what a client gets for it. Both
//! parse with `httparse`, and the checks of the request are the same.

use std::mem::MaybeUninit;

use bytes::Bytes;
use httparse::{Header, Status};
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::{HeaderMap, Request, Uri};

/// The maximum number of header fields. Browsers send about 15.
const MAX_FIELDS: usize = 48;

/// Returns the request at the front of `received`, and the number of bytes of its head. Returns `None` if hyper must
/// read it.
pub(crate) fn read_plain_head(received: &Bytes) -> Option<(Request<()>, usize)> {
    let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut []);
    let Ok(Status::Complete(len)) = head.parse_with_uninit_headers(received, &mut fields) else { return None };
    if (head.method, head.version) != (Some("GET"), Some(1)) {
        return None;
    }
    // The values share one copy of the head.
    let path = head.path.filter(|path| path.starts_with('/'))?;
    let uri = Uri::from_maybe_shared(received.slice_ref(path.as_bytes())).ok()?;
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    for field in &*head.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        if name == CONTENT_LENGTH || name == TRANSFER_ENCODING {
            return None;
        }
        headers.append(name, HeaderValue::from_maybe_shared(received.slice_ref(field.value)).ok()?);
    }
    let mut request = Request::new(());
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Some((request, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "GET /ws?uid=7 HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a:  2 \r\n\r\n";

    #[test]
    fn a_plain_request_is_read_with_all_its_fields() {
        let received = Bytes::from(format!("{PLAIN}frames"));
        let (request, len) = read_plain_head(&received).unwrap();
        assert_eq!(len, PLAIN.len());
        assert_eq!((request.uri().path(), request.uri().query()), ("/ws", Some("uid=7")));
        assert_eq!((request.method().as_str(), request.version()), ("GET", hyper::Version::HTTP_11));
        assert_eq!(request.headers()["host"], "a");
        assert_eq!(request.headers().get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(request.headers().len(), 3);
    }

    #[test]
    fn hyper_reads_every_other_request() {
        let many = "X: 1\r\n".repeat(MAX_FIELDS);
        for (from, to) in [
            ("GET", "POST"),
            ("GET", "HEAD"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("HTTP/1.1", "HTTP/2.0"),
            ("/ws", "http://a/ws"),
            ("/ws", "*"),
            ("/ws", "/w s"),
            ("/ws", "/w\x7fs"),
            ("X-A: 1", "Content-Length: 0"),
            ("X-A: 1", "TRANSFER-ENCODING: chunked"),
            ("X-A: 1", "X A: 1"),
            ("X-A: 1", "X-A: 1\r\n 2"),
            ("X-A: 1", "X-A: \0"),
            ("X-A: 1\r\n", &many),
            (" \r\n\r\n", " \r\n"),
        ] {
            let request = PLAIN.replacen(from, to, 1);
            assert!(request != PLAIN && read_plain_head(&request.clone().into()).is_none(), "{request}");
        }
        for len in 0..PLAIN.len() {
            assert!(read_plain_head(&Bytes::from_static(PLAIN.as_bytes()).slice(..len)).is_none(), "{len}");
        }
    }
}
