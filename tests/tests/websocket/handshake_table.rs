//! Every header field of the handshake (RFC 6455, section 4.2.1; RFC 9110; RFC 9112): missing, given twice, in other
//! cases, with spaces, empty and very long.

use kengine::Server;
use kengine_tests::{ClientFrame, HttpClient, Lobby, TestServer, every_row};

/// A valid request.
const REQUEST: [&str; 6] = [
    "GET /ws HTTP/1.1",
    "Host: game.example",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
];
/// The codes in the bodies of refusals. hyper refuses with an empty body what it cannot parse.
const BAD: &str = "bad_request";
const ORIGIN: &str = "forbidden";
const UPGRADE: &str = "upgrade_required";
const METHOD: &str = "method_not_allowed";
const LARGE: &str = "too_large";
const NONE: &str = "";

/// The name of a row; the start of the lines of the valid request that it changes; the lines that replace them, or that
/// are added if there are no such lines; the status and the code of the response.
type Row = (&'static str, &'static str, String, u16, &'static str);

fn row(name: &'static str, changed: &'static str, lines: impl Into<String>, status: u16, code: &'static str) -> Row {
    (name, changed, lines.into(), status, code)
}

fn request(changed: &str, lines: &str) -> Vec<u8> {
    let mut request = String::new();
    let mut replacement = Some(lines).filter(|lines| !lines.is_empty());
    for line in REQUEST {
        let line = if line.starts_with(changed) { replacement.take() } else { Some(line) };
        request.extend(line.into_iter().flat_map(|line| [line, "\r\n"]));
    }
    request.extend(replacement.into_iter().flat_map(|line| [line, "\r\n"]));
    request.push_str("\r\n");
    request.into_bytes()
}

async fn check(rows: Vec<Row>) {
    let server = TestServer::start(Server::new(Lobby)).await;
    let rows = rows.into_iter().map(|(name, changed, lines, status, code)| (name, (changed, lines, status, code)));
    every_row(rows, async |(changed, lines, status, code)| {
        let mut http = HttpClient::connect(server.address()).await;
        http.send(&request(changed, &lines)).await;
        let response = http.response(lines.starts_with("HEAD")).await;
        let given = if response.body.is_empty() { String::new() } else { response.error_code() };
        assert_eq!((response.status, given.as_str()), (status, code), "{response:?}");
        assert_eq!(response.field("sec-websocket-accept").is_some(), status == 101);
        match status {
            101 => http.into_websocket().heartbeat().await,
            405 => assert_eq!(response.field("allow"), Some("GET")),
            426 => {
                assert_eq!(response.field("upgrade"), Some("websocket"));
                assert_eq!(response.field("sec-websocket-version"), Some("13"));
            }
            _ => {}
        }
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn the_request_line() {
    check(vec![
        row("as browsers send it", "GET", "GET /ws HTTP/1.1", 101, NONE),
        row("POST", "GET", "POST /ws HTTP/1.1", 405, METHOD),
        row("PUT", "GET", "PUT /ws HTTP/1.1", 405, METHOD),
        row("DELETE", "GET", "DELETE /ws HTTP/1.1", 405, METHOD),
        row("OPTIONS", "GET", "OPTIONS /ws HTTP/1.1", 405, METHOD),
        row("HEAD, whose response has no body", "GET", "HEAD /ws HTTP/1.1", 405, NONE),
        row("an unknown method", "GET", "BREW /ws HTTP/1.1", 405, METHOD),
        row("GET in lower case", "GET", "get /ws HTTP/1.1", 405, METHOD),
        row("a POST with a body", "GET", "POST /ws HTTP/1.1\r\nContent-Length: 5", 405, METHOD),
        row("HTTP/1.0", "GET", "GET /ws HTTP/1.0", 426, UPGRADE),
        row("HTTP/1.2", "GET", "GET /ws HTTP/1.2", 400, NONE),
        row("no version", "GET", "GET /ws", 400, NONE),
        row("an absolute target", "GET", "GET http://game.example/ws HTTP/1.1", 101, NONE),
        row("an absolute target with a user", "GET", "GET http://ada@game.example/ws HTTP/1.1", 400, BAD),
        row("a target that names another host", "GET", "GET http://other.example/ws HTTP/1.1", 101, NONE),
        row(
            "a page of the target's host",
            "GET",
            "GET http://other.example/ws HTTP/1.1\r\nOrigin: http://other.example",
            101,
            NONE,
        ),
        row(
            "a page of the host in `Host`, which an absolute target replaces",
            "GET",
            "GET http://other.example/ws HTTP/1.1\r\nOrigin: http://game.example",
            403,
            ORIGIN,
        ),
    ])
    .await;
}

#[tokio::test]
async fn host() {
    check(vec![
        row("missing", "Host", "", 400, BAD),
        row(
            "missing, with an absolute target",
            "",
            ["GET http://game.example/ws HTTP/1.1", REQUEST[2], REQUEST[3], REQUEST[4], REQUEST[5]].join("\r\n"),
            400,
            BAD,
        ),
        row("twice", "Host", "Host: game.example\r\nHost: game.example", 400, BAD),
        row("twice, different", "Host", "Host: game.example\r\nHost: evil.example", 400, BAD),
        row("twice, in two cases", "Host", "HOST: game.example\r\nhost: game.example", 400, BAD),
        row("two of a POST", "GET", "POST /ws HTTP/1.1\r\nHost: game.example", 400, BAD),
        row("in upper case", "Host", "HOST: GAME.EXAMPLE", 101, NONE),
        row("in lower case", "Host", "host: game.example", 101, NONE),
        row("without a space", "Host", "Host:game.example", 101, NONE),
        row("with spaces around it", "Host", "Host: \t game.example \t ", 101, NONE),
        row("with a space before the colon", "Host", "Host : game.example", 400, NONE),
        row("with a space inside", "Host", "Host: a b", 400, BAD),
        row("with a tab inside", "Host", "Host: a\tb", 400, BAD),
        row("empty", "Host", "Host:", 400, BAD),
        row("spaces", "Host", "Host:  ", 400, BAD),
        row("an empty one and a page of it", "Host", "Host:\r\nOrigin: http://", 400, BAD),
        row("with a port", "Host", "Host: game.example:8000", 101, NONE),
        row("with an empty port", "Host", "Host: game.example:", 101, NONE),
        row("a port alone", "Host", "Host: :8000", 400, BAD),
        row("a word for a port", "Host", "Host: game.example:http", 400, BAD),
        row("a sign in the port", "Host", "Host: game.example:+80", 400, BAD),
        row("a port that is too large", "Host", "Host: game.example:65536", 400, BAD),
        row("two ports", "Host", "Host: game.example:80:80", 400, BAD),
        row("IPv4", "Host", "Host: 127.0.0.1:8000", 101, NONE),
        row("IPv6", "Host", "Host: [::1]", 101, NONE),
        row("IPv6 with a port", "Host", "Host: [::1]:8000", 101, NONE),
        row("IPv6 without brackets", "Host", "Host: ::1", 400, BAD),
        row("IPv6 with half its brackets", "Host", "Host: [::1", 400, BAD),
        row("a name in brackets", "Host", "Host: [game.example]", 400, BAD),
        row("text behind the brackets", "Host", "Host: [::1]x", 400, BAD),
        row("with an underscore", "Host", "Host: game_1.example", 101, NONE),
        row("with an escape", "Host", "Host: g%61me.example", 101, NONE),
        row("with half an escape", "Host", "Host: game%6.example", 400, BAD),
        row("with a user", "Host", "Host: ada@game.example", 400, BAD),
        row("with a path", "Host", "Host: game.example/ws", 400, BAD),
        row("with a scheme", "Host", "Host: http://game.example", 400, BAD),
        row("two in one line", "Host", "Host: game.example, evil.example", 400, BAD),
        row("in quotes", "Host", "Host: \"game.example\"", 400, BAD),
        row("beyond ASCII", "Host", "Host: gäme.example", 400, BAD),
        row("very long", "Host", format!("Host: {}", "a".repeat(10_000)), 101, NONE),
        row("too long", "Host", format!("Host: {}", "a".repeat(20_000)), 431, LARGE),
    ])
    .await;
}

#[tokio::test]
async fn upgrade_and_connection() {
    check(vec![
        row("`Upgrade` missing", "Upgrade", "", 426, UPGRADE),
        row("`Upgrade` empty", "Upgrade", "Upgrade:", 426, UPGRADE),
        row("`Upgrade` twice", "Upgrade", "Upgrade: websocket\r\nUpgrade: websocket", 101, NONE),
        row("`Upgrade` in two lines", "Upgrade", "Upgrade: h2c\r\nupgrade: websocket", 101, NONE),
        row("`Upgrade` to one of two", "Upgrade", "Upgrade: h2c,websocket", 101, NONE),
        row("`Upgrade` to something else", "Upgrade", "Upgrade: h2c", 426, UPGRADE),
        row("`Upgrade` in upper case", "Upgrade", "UPGRADE: WEBSOCKET", 101, NONE),
        row("`Upgrade` with spaces around it", "Upgrade", "upgrade: \t websocket \t ", 101, NONE),
        row("`Upgrade` with a space inside", "Upgrade", "Upgrade: web socket", 426, UPGRADE),
        row("`Upgrade` with a version", "Upgrade", "Upgrade: websocket/13", 426, UPGRADE),
        row("`Upgrade` very long", "Upgrade", format!("Upgrade: {}", "x".repeat(10_000)), 426, UPGRADE),
        row("`Connection` missing", "Connection", "", 426, UPGRADE),
        row("`Connection` empty", "Connection", "Connection:", 426, UPGRADE),
        row("`Connection` without upgrade", "Connection", "Connection: keep-alive", 426, UPGRADE),
        row("`Connection` twice", "Connection", "Connection: Upgrade\r\nConnection: Upgrade", 101, NONE),
        row("`Connection` in two lines", "Connection", "Connection: keep-alive\r\nconnection: upgrade", 101, NONE),
        row("`Connection` as Firefox sends it", "Connection", "Connection: keep-alive, Upgrade", 101, NONE),
        row("`Connection` in upper case", "Connection", "CONNECTION: UPGRADE", 101, NONE),
        row("`Connection` with spaces around it", "Connection", "Connection: \t Upgrade \t , x", 101, NONE),
        row("`Connection` with a space inside", "Connection", "Connection: Up grade", 426, UPGRADE),
        row("`Connection` with a parameter", "Connection", "Connection: Upgrade;q=1", 426, UPGRADE),
        row("`Connection` very long", "Connection", format!("Connection: {}", "x".repeat(10_000)), 426, UPGRADE),
        row("no upgrade and a wrong version", "Upgrade", "Sec-WebSocket-Version: 8", 426, UPGRADE),
    ])
    .await;
}

#[tokio::test]
async fn sec_websocket_key() {
    const KEY: &str = "Sec-WebSocket-Key";
    check(vec![
        row("missing", KEY, "", 400, BAD),
        row("empty", KEY, "Sec-WebSocket-Key:", 400, BAD),
        row(
            "twice",
            KEY,
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            400,
            BAD,
        ),
        row("twice, one empty", KEY, "Sec-WebSocket-Key:\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", 400, BAD),
        row("with its name in upper case", KEY, "SEC-WEBSOCKET-KEY: dGhlIHNhbXBsZSBub25jZQ==", 101, NONE),
        row("with its name in lower case", KEY, "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", 101, NONE),
        row("with spaces around it", KEY, "Sec-WebSocket-Key: \t dGhlIHNhbXBsZSBub25jZQ== \t ", 101, NONE),
        row("with a space inside", KEY, "Sec-WebSocket-Key: dGhlIHNhbXBs ZSBub25jZQ==", 400, BAD),
        row("of 15 bytes", KEY, "Sec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1", 400, BAD),
        row("of 17 bytes", KEY, "Sec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Njc=", 400, BAD),
        row("of 18 bytes", KEY, "Sec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Njc4", 400, BAD),
        row("without its padding", KEY, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ", 400, BAD),
        row("that is not base64", KEY, "Sec-WebSocket-Key: !GhlIHNhbXBsZSBub25jZQ==", 400, BAD),
        row("in the other base64", KEY, "Sec-WebSocket-Key: -_hlIHNhbXBsZSBub25jZQ==", 400, BAD),
        row("in quotes", KEY, "Sec-WebSocket-Key: \"dGhlIHNhbXBsZSBub25jZ\"", 400, BAD),
        row("very long", KEY, format!("Sec-WebSocket-Key: {}==", "A".repeat(10_000)), 400, BAD),
    ])
    .await;
}

#[tokio::test]
async fn sec_websocket_version() {
    const VERSION: &str = "Sec-WebSocket-Version";
    check(vec![
        row("missing", VERSION, "", 400, BAD),
        row("empty", VERSION, "Sec-WebSocket-Version:", 426, UPGRADE),
        row("twice", VERSION, "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13", 400, BAD),
        row("twice, the second unknown", VERSION, "Sec-WebSocket-Version: 13\r\nsec-websocket-version: 8", 400, BAD),
        row("twice, the first unknown", VERSION, "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Version: 13", 400, BAD),
        row("with its name in upper case", VERSION, "SEC-WEBSOCKET-VERSION: 13", 101, NONE),
        row("with its name in lower case", VERSION, "sec-websocket-version: 13", 101, NONE),
        row("with spaces around it", VERSION, "Sec-WebSocket-Version: \t 13 \t ", 101, NONE),
        row("with a space inside", VERSION, "Sec-WebSocket-Version: 1 3", 426, UPGRADE),
        row("8", VERSION, "Sec-WebSocket-Version: 8", 426, UPGRADE),
        row("14", VERSION, "Sec-WebSocket-Version: 14", 426, UPGRADE),
        row("with a leading zero", VERSION, "Sec-WebSocket-Version: 013", 426, UPGRADE),
        row("a list", VERSION, "Sec-WebSocket-Version: 8, 13", 426, UPGRADE),
        row("very long", VERSION, format!("Sec-WebSocket-Version: {}", "13".repeat(5_000)), 426, UPGRADE),
    ])
    .await;
}

#[tokio::test]
async fn origin_and_subprotocol() {
    let pages = (0..1000).map(|number| format!("p{number}, ")).collect::<Vec<_>>().concat();
    check(vec![
        row("`Origin` of this host", "Origin", "Origin: http://game.example", 101, NONE),
        row("`Origin` in upper case", "Origin", "ORIGIN: HTTP://GAME.EXAMPLE", 101, NONE),
        row("`Origin` with spaces around it", "Origin", "origin: \t http://game.example \t ", 101, NONE),
        row("`Origin` with a space inside", "Origin", "Origin: http://game.example evil", 403, ORIGIN),
        row("`Origin` twice", "Origin", "Origin: http://game.example\r\nOrigin: http://game.example", 403, ORIGIN),
        row("`Origin` empty", "Origin", "Origin:", 403, ORIGIN),
        row("`Origin` without a host", "Origin", "Origin: http://", 403, ORIGIN),
        row("`Origin` beyond ASCII", "Origin", "Origin: http://gäme.example", 403, ORIGIN),
        row("`Origin` very long", "Origin", format!("Origin: http://{}", "a".repeat(10_000)), 403, ORIGIN),
        row("the subprotocol", "Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: kengine.v1.json", 101, NONE),
        row(
            "the subprotocol twice",
            "Sec-WebSocket-Protocol",
            "Sec-WebSocket-Protocol: kengine.v1.json\r\nsec-websocket-protocol: kengine.v1.json",
            101,
            NONE,
        ),
        row("with spaces", "Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: a ,\t kengine.v1.json \t", 101, NONE),
        row("in upper case", "Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: KENGINE.V1.JSON", 400, BAD),
        row("with a space inside", "Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: kengine. v1.json", 400, BAD),
        row("no subprotocol", "Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol:", 400, BAD),
        row(
            "many subprotocols",
            "Sec-WebSocket-Protocol",
            format!("Sec-WebSocket-Protocol: {pages}kengine.v1.json"),
            101,
            NONE,
        ),
        row("only others", "Sec-WebSocket-Protocol", format!("Sec-WebSocket-Protocol: {pages}x"), 400, BAD),
    ])
    .await;
}

/// What follows the header of a request for a WebSocket are frames and never a body.
#[tokio::test]
async fn a_body() {
    check(vec![
        row("a length of 0", "Content-Length", "Content-Length: 0", 101, NONE),
        row("a length of 0 in lower case", "Content-Length", "content-length:0", 101, NONE),
        row("a length of 0 twice", "Content-Length", "Content-Length: 0\r\nContent-Length: 0", 101, NONE),
        row("a length of 5", "Content-Length", "Content-Length: 5", 400, BAD),
        row("a length of 5 twice", "Content-Length", "Content-Length: 5\r\ncontent-length: 5", 400, BAD),
        row("a length of a frame", "Content-Length", "CONTENT-LENGTH: 7", 400, BAD),
        row("two lengths", "Content-Length", "Content-Length: 0\r\nContent-Length: 5", 400, NONE),
        row("a list of lengths", "Content-Length", "Content-Length: 0, 0", 400, NONE),
        row("an empty length", "Content-Length", "Content-Length:", 400, NONE),
        row("a length with a sign", "Content-Length", "Content-Length: +0", 400, NONE),
        row("a length with a space inside", "Content-Length", "Content-Length: 0 0", 400, NONE),
        row("a length in hexadecimal", "Content-Length", "Content-Length: 0x0", 400, NONE),
        row("a length beyond 64 bits", "Content-Length", format!("Content-Length: {}", "9".repeat(30)), 400, NONE),
        row("chunks", "Transfer-Encoding", "Transfer-Encoding: chunked", 400, BAD),
        row("chunks in upper case", "Transfer-Encoding", "TRANSFER-ENCODING: CHUNKED", 400, BAD),
        row("chunks with spaces", "Transfer-Encoding", "Transfer-Encoding: \t chunked \t ", 400, BAD),
        row("chunks twice", "Transfer-Encoding", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400, BAD),
        row("chunks and a length", "Content-Length", "Transfer-Encoding: chunked\r\nContent-Length: 5", 400, BAD),
        row("a length and chunks", "Content-Length", "Content-Length: 0\r\nTransfer-Encoding: chunked", 400, BAD),
        row("an encoding without chunks", "Transfer-Encoding", "Transfer-Encoding: identity", 400, NONE),
        row("an empty encoding", "Transfer-Encoding", "Transfer-Encoding:", 400, NONE),
        row("chunks in HTTP/1.0", "GET", "GET /ws HTTP/1.0\r\nTransfer-Encoding: chunked", 400, NONE),
        // Without a body there is nothing to continue with, and a server may ignore the field (RFC 9110, section
        // 10.1.1).
        row("an expectation", "Expect", "Expect: 100-continue", 101, NONE),
        row("an expectation twice", "Expect", "EXPECT: 100-CONTINUE\r\nExpect: 100-continue", 101, NONE),
        row("an unknown expectation", "Expect", "Expect: nothing", 101, NONE),
        row("an empty expectation", "Expect", "Expect:", 101, NONE),
        row("an expectation of a body", "Expect", "Expect: 100-continue\r\nContent-Length: 5", 400, BAD),
        row("an expectation of chunks", "Expect", "Expect: 100-continue\r\nTransfer-Encoding: chunked", 400, BAD),
    ])
    .await;
}

#[tokio::test]
async fn frames_are_never_the_body_of_their_handshake() {
    let server = TestServer::start(Server::new(Lobby)).await;
    let fields = ["Content-Length: 7", "Content-Length: 5", "Transfer-Encoding: chunked\r\nContent-Length: 7"];
    for field in fields {
        let mut http = HttpClient::connect(server.address()).await;
        let frame = ClientFrame::text("p").bytes();
        http.send(&[request("Content-Length", field), frame].concat()).await;
        let response = http.response(false).await;
        assert_eq!((response.status, response.error_code().as_str()), (400, BAD), "{field}: {response:?}");
    }
    server.stop().await;
}
