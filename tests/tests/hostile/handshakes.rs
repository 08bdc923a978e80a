//! Misbehaviour before there is a connection: requests that are no handshake, or a wrong one (RFC 6455, section 4.2.1;
//! RFC 9112).

use kengine_tests::ClientFrame;

use crate::row::{Row, Step, row};

const LINE: &str = "GET /ws HTTP/1.1";
const HOST: &str = "Host: game.example";
const UPGRADE: &str = "Upgrade: websocket";
const CONNECTION: &str = "Connection: Upgrade";
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
const VERSION: &str = "Sec-WebSocket-Version: 13";
/// How much of a request the server buffers, in bytes.
const LARGEST_BUFFER: usize = 64 * 1024;
const VALID: [&str; 6] = [LINE, HOST, UPGRADE, CONNECTION, KEY, VERSION];

/// Returns the valid request with other lines instead of this one. They are added if it has no such line.
fn request(line: &str, lines: &[&str]) -> Vec<u8> {
    let mut request: Vec<&str> = VALID.into_iter().filter(|valid| *valid != line).collect();
    let at = VALID.iter().position(|valid| *valid == line).unwrap_or(request.len());
    request.splice(at..at, lines.iter().copied());
    (request.join("\r\n") + "\r\n\r\n").into_bytes()
}

/// The client sends these bytes, sees one answer, and closes its writing side, after which the server closes too.
fn is_answered(what: &'static str, bytes: impl Into<Vec<u8>>, answer: &str) -> Row {
    let steps = [Step::Socket, Step::Send(bytes.into()), Step::See(1), Step::StopWriting, Step::SeeAll];
    row(what, steps, &[answer, "end of TCP"])
}

/// The client sends these bytes, which the server answers with the end of TCP, if at all.
fn cut(what: &'static str, bytes: impl Into<Vec<u8>>, sees: &[&str]) -> Row {
    row(what, [Step::Socket, Step::Send(bytes.into()), Step::SeeAll], sees)
}

pub(crate) fn rows(_: usize) -> Vec<Row> {
    let long = format!("X-Long: {}", "x".repeat(20_000));
    // A server that had not read everything would reset TCP, and the client could lose its answer.
    let endless = |start: &str| start.to_owned() + &"x".repeat(LARGEST_BUFFER - start.len());
    let fields: Vec<String> = (0..150).map(|number| format!("X-{number}: x")).collect();
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    let smuggled = ClientFrame::text("p").bytes();
    let mut rows = lines();
    rows.extend([
        is_answered("a header of 20 KB", request("", &[&long]), "431 too_large"),
        cut("a header that does not end", endless("GET /ws HTTP/1.1\r\nX-Long: "), &["431", "end of TCP"]),
        cut("a header of 150 fields", request("", &fields), &["431", "end of TCP"]),
        cut("a request line that does not end", endless("GET /"), &["431", "end of TCP"]),
        cut("TLS on a port without TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", &["400", "end of TCP"]),
        cut("HTTP/2 without an upgrade", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &["end of TCP"]),
        cut("HTTP/0.9", b"GET /ws\r\n\r\n", &["400", "end of TCP"]),
        cut("a zero byte", request("", &["X-Zero: a\0b"]), &["400", "end of TCP"]),
        cut("a folded line", request("", &["X-Folded: a\r\n b"]), &["400", "end of TCP"]),
        cut("frames instead of a handshake", smuggled, &["400", "end of TCP"]),
        cut("a name of a field beyond ASCII", request("", &["X-\u{e9}: a"]), &["400", "end of TCP"]),
        cut("spaces before the colon", request(HOST, &["Host : game.example"]), &["400", "end of TCP"]),
        cut("no colon", request("", &["X"]), &["400", "end of TCP"]),
        cut("HTTP/1.2", request(LINE, &["GET /ws HTTP/1.2"]), &["400", "end of TCP"]),
        cut("two lengths", request("", &["Content-Length: 0", "Content-Length: 5"]), &["400", "end of TCP"]),
        cut("a length with a sign", request("", &["Content-Length: +5"]), &["400", "end of TCP"]),
        cut("an unknown encoding", request("", &["Transfer-Encoding: identity"]), &["400", "end of TCP"]),
        row("a socket that is closed at once", [Step::Socket, Step::StopWriting, Step::SeeAll], &["end of TCP"]),
        row(
            "half a request, and the end of it",
            [Step::Socket, Step::Send(request("", &[])[..40].to_vec()), Step::StopWriting, Step::SeeAll],
            &["end of TCP"],
        ),
        row(
            "a frame as the body of a refused handshake",
            [
                Step::Socket,
                Step::Send([request("", &["Content-Length: 7"]), ClientFrame::text("p").bytes()].concat()),
                Step::See(1),
                Step::StopWriting,
                Step::SeeAll,
            ],
            &["400 bad_request", "end of TCP"],
        ),
        row(
            "a second request behind the handshake",
            [Step::Socket, Step::Send([request("", &[]), request("", &[])].concat()), Step::SeeAll],
            &["101", "close 1002", "end of TCP"],
        )
        .holds(1, 0),
    ]);
    rows
}

/// A request with one wrong line.
fn lines() -> Vec<Row> {
    let bad = "400 bad_request";
    vec![
        is_answered("POST", request(LINE, &["POST /ws HTTP/1.1"]), "405 method_not_allowed"),
        is_answered("CONNECT", request(LINE, &["CONNECT game.example:80 HTTP/1.1"]), "404 not_found"),
        is_answered("TRACE", request(LINE, &["TRACE /ws HTTP/1.1"]), "405 method_not_allowed"),
        is_answered("an unknown method", request(LINE, &["BREW /ws HTTP/1.1"]), "405 method_not_allowed"),
        is_answered("another path", request(LINE, &["GET /wss HTTP/1.1"]), "404 not_found"),
        is_answered("a path that climbs", request(LINE, &["GET /../ws HTTP/1.1"]), "404 not_found"),
        is_answered("HTTP/1.0", request(LINE, &["GET /ws HTTP/1.0"]), "426 upgrade_required"),
        is_answered("no host", request(HOST, &[]), bad),
        is_answered("two hosts", request(HOST, &[HOST, "Host: evil.example"]), bad),
        is_answered("a host with a user", request(HOST, &["Host: ada@game.example"]), bad),
        is_answered("an empty host", request(HOST, &["Host:"]), bad),
        is_answered("the host of a rebound name", request(HOST, &["Host: evil.example"]), "421 misdirected_request")
            .on(|server| server.hosts(["game.example"])),
        is_answered("a foreign origin", request("", &["Origin: https://evil.example"]), "403 forbidden"),
        is_answered("two origins", request("", &["Origin: http://game.example", "Origin: http://a"]), "403 forbidden"),
        is_answered("an origin that is null", request("", &["Origin: null"]), "403 forbidden"),
        is_answered("no upgrade", request(UPGRADE, &[]), "426 upgrade_required"),
        is_answered("an upgrade to h2c", request(UPGRADE, &["Upgrade: h2c"]), "426 upgrade_required"),
        is_answered("a connection that is not upgraded", request(CONNECTION, &[]), "426 upgrade_required"),
        is_answered("no key", request(KEY, &[]), bad),
        is_answered("a key of 15 bytes", request(KEY, &["Sec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1"]), bad),
        is_answered("two keys", request(KEY, &[KEY, KEY]), bad),
        is_answered("no version", request(VERSION, &[]), bad),
        is_answered("version 8", request(VERSION, &["Sec-WebSocket-Version: 8"]), "426 upgrade_required"),
        is_answered("two versions", request(VERSION, &[VERSION, VERSION]), bad),
        is_answered("an unknown subprotocol", request("", &["Sec-WebSocket-Protocol: soap"]), bad),
        is_answered("a body of 5 bytes", request("", &["Content-Length: 5"]), bad),
        is_answered("a body in chunks", request("", &["Transfer-Encoding: chunked"]), bad),
        is_answered("a body of both", request("", &["Transfer-Encoding: chunked", "Content-Length: 5"]), bad),
        is_answered("an empty uid", request(LINE, &["GET /ws?uid= HTTP/1.1"]), bad),
        is_answered("a uid of 129 bytes", request(LINE, &[&format!("GET /ws?uid={} HTTP/1.1", "x".repeat(129))]), bad),
        is_answered("a uid that is not UTF-8", request(LINE, &["GET /ws?uid=%ff%fe HTTP/1.1"]), bad),
        is_answered("a uid with a line feed", request(LINE, &["GET /ws?uid=a%0Ab HTTP/1.1"]), bad),
        is_answered("a uid with a zero byte", request(LINE, &["GET /ws?uid=a%00b HTTP/1.1"]), bad),
        is_answered("a uid that turns text around", request(LINE, &["GET /ws?uid=a%E2%80%AEb HTTP/1.1"]), bad),
    ]
}
