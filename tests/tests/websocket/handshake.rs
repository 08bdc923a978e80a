//! The handshake (RFC 6455, section 4.2): which requests open a connection, and how others are refused.

use std::time::Duration;

use kengine::{Handshake, Server, Session};
use kengine_tests::{ClientFrame, Doorkeeper, HttpClient, Lobby, RawClient, TestServer, Upgrade, every_row};

/// A change to a valid request.
type Change = fn(Upgrade) -> Upgrade;
/// Header fields that the response must have.
type Fields = &'static [(&'static str, &'static str)];

/// `handshake_table.rs` has the rows about single header fields.
#[tokio::test]
async fn an_invalid_handshake_gets_a_status_and_a_reason() {
    let rows: Vec<(_, (Change, u16, &str))> = vec![
        (
            "an unknown subprotocol",
            (|request| request.with("Sec-WebSocket-Protocol", "kengine.v2.json"), 400, "bad_request"),
        ),
        (
            "unknown subprotocols",
            (|request| request.with("Sec-WebSocket-Protocol", "chat, kengine.v1.json.x"), 400, "bad_request"),
        ),
        ("a foreign origin", (|request| request.with("Origin", "https://evil.example"), 403, "forbidden")),
        (
            "a foreign origin on this machine",
            (|request| request.with("Origin", "http://127.0.0.1:1"), 403, "forbidden"),
        ),
        (
            "two origins",
            (
                |request| {
                    let request = request.with("Host", "game.example").with("Origin", "http://game.example");
                    request.and("Origin", "https://evil.example")
                },
                403,
                "forbidden",
            ),
        ),
        ("a page without an origin", (|request| request.with("Origin", "null"), 403, "forbidden")),
        ("another path", (|request| request.path("/wss"), 404, "not_found")),
        ("a path below", (|request| request.path("/ws/x"), 404, "not_found")),
        ("the path in capitals", (|request| request.path("/WS"), 404, "not_found")),
        (
            "a plain GET",
            (
                |request| request.without("Upgrade").with("Connection", "keep-alive").without("Sec-WebSocket-Key"),
                426,
                "upgrade_required",
            ),
        ),
        ("a header of 20 KiB", (|request| request.and("X-Large", "x".repeat(20 * 1024)), 431, "too_large")),
        (
            "a header of many fields",
            (
                |request| (0..50).fold(request, |request, field| request.and(&format!("X-{field}"), "x".repeat(400))),
                431,
                "too_large",
            ),
        ),
    ];
    let server = TestServer::start(Server::new(Lobby)).await;
    every_row(rows, async |(change, status, code)| {
        let response = change(Upgrade::new(server.address())).ask(server.address()).await;
        assert_eq!((response.status, response.error_code().as_str()), (status, code), "{response:?}");
        assert_eq!(response.field("sec-websocket-accept"), None);
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_header_that_is_far_too_large_is_refused() {
    let server = TestServer::start(Server::new(Lobby)).await;
    let request = Upgrade::new(server.address()).and("X-Large", "x".repeat(100 * 1024));
    assert_eq!(request.ask(server.address()).await.status, 431);
    server.stop().await;
}

#[tokio::test]
async fn a_valid_handshake_is_accepted() {
    const NO_SUBPROTOCOL: Fields = &[];
    const SUBPROTOCOL: Fields = &[("sec-websocket-protocol", "kengine.v1.json")];
    let rows: Vec<(_, (Change, Fields))> = vec![
        ("as browsers send it", (|request| request, NO_SUBPROTOCOL)),
        ("with a query", (|request| request.path("/ws?uid=1001&x=/"), NO_SUBPROTOCOL)),
        (
            "in other cases",
            (|request| request.with("Upgrade", "WebSocket").with("Connection", "upgrade"), NO_SUBPROTOCOL),
        ),
        ("as Firefox sends it", (|request| request.with("Connection", "keep-alive, Upgrade"), NO_SUBPROTOCOL)),
        (
            "with an extension",
            (|request| request.and("Sec-WebSocket-Extensions", "permessage-deflate"), NO_SUBPROTOCOL),
        ),
        ("with a cookie", (|request| request.and("Cookie", "a=b"), NO_SUBPROTOCOL)),
        ("our subprotocol", (|request| request.and("Sec-WebSocket-Protocol", "kengine.v1.json"), SUBPROTOCOL)),
        (
            "our subprotocol among others",
            (|request| request.and("Sec-WebSocket-Protocol", "a,kengine.v1.json ,b"), SUBPROTOCOL),
        ),
        (
            "our subprotocol in a second field",
            (
                |request| {
                    request.and("Sec-WebSocket-Protocol", "token").and("Sec-WebSocket-Protocol", "kengine.v1.json")
                },
                SUBPROTOCOL,
            ),
        ),
        ("a header of 15 KiB", (|request| request.and("X-Large", "x".repeat(15 * 1024)), NO_SUBPROTOCOL)),
    ];
    let server = TestServer::start(Server::new(Lobby)).await;
    every_row(rows, async |(change, fields)| {
        let mut http = HttpClient::connect(server.address()).await;
        let response = http.request(&change(Upgrade::new(server.address())).bytes()).await;
        assert_eq!(response.status, 101, "{response:?}");
        assert_eq!(response.field("sec-websocket-accept"), Some(Upgrade::ACCEPT));
        let upgrade = response.field("upgrade").map(str::to_ascii_lowercase);
        assert_eq!(upgrade.as_deref(), Some("websocket"));
        let connection = response.field("connection").map(str::to_ascii_lowercase);
        assert_eq!(connection.as_deref(), Some("upgrade"));
        assert_eq!(response.field("sec-websocket-extensions"), None);
        let subprotocol = fields.first().map(|(_, value)| *value);
        assert_eq!(response.field("sec-websocket-protocol"), subprotocol);

        let mut client = http.into_websocket();
        client.send_frames([ClientFrame::text(Lobby::request(1, "x"))]).await;
        assert_eq!(client.frame().await, Lobby::answer(1, "x"));
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn pages_of_this_host_and_of_allowed_origins_may_connect() {
    type Origins = &'static [&'static str];
    /// The allowed origins, the request's origin, the host (`None` for the server's address), and the status.
    type Row = (Origins, Option<&'static str>, Option<&'static str>, u16);
    const ALLOWED: Origins = &["https://game.example", "http://localhost:3000"];
    const UNUSUAL: Origins = &["HTTPS://Game.Example:443/", "http://[::1]:80", "http://game.example:443", "null"];
    let rows: Vec<(_, Row)> = vec![
        ("no origin", (&[], None, None, 101)),
        ("this host", (&[], Some("http://game.example"), Some("game.example"), 101)),
        ("this host in capitals", (&[], Some("http://Game.Example"), Some("game.example"), 101)),
        ("this host with its port", (&[], Some("http://game.example:8000"), Some("game.example:8000"), 101)),
        ("this host with the default port", (&[], Some("https://game.example"), Some("game.example:443"), 101)),
        ("this host with TLS", (&[], Some("https://game.example"), Some("game.example"), 101)),
        ("another port of this host", (&[], Some("http://game.example:1"), Some("game.example"), 403)),
        ("a host below this one", (&[], Some("http://x.game.example"), Some("game.example"), 403)),
        ("a host that starts with this one", (&[], Some("http://game.example.evil"), Some("game.example"), 403)),
        ("a host that ends with this one", (&[], Some("http://evilgame.example"), Some("game.example"), 403)),
        ("a user of this name", (&[], Some("http://game.example@evil"), Some("game.example"), 403)),
        ("another scheme", (&[], Some("file://game.example"), Some("game.example"), 403)),
        ("an empty origin", (&[], Some(""), Some("game.example"), 403)),
        ("an allowed origin", (ALLOWED, Some("https://game.example"), None, 101)),
        ("another allowed origin", (ALLOWED, Some("http://localhost:3000"), None, 101)),
        ("an allowed origin with another scheme", (ALLOWED, Some("http://game.example"), None, 403)),
        ("an allowed origin with another port", (ALLOWED, Some("http://localhost:3001"), None, 403)),
        ("an origin allowed with its default port and a slash", (UNUSUAL, Some("https://game.example"), None, 101)),
        ("an origin allowed by its address", (UNUSUAL, Some("http://[::1]"), None, 101)),
        ("an origin allowed with the port of another scheme", (UNUSUAL, Some("http://game.example:443"), None, 101)),
        ("the same origin without that port", (UNUSUAL, Some("http://game.example"), None, 403)),
        ("an allowed origin in capitals", (ALLOWED, Some("HTTPS://GAME.EXAMPLE"), None, 101)),
        ("`null`, which is allowed", (UNUSUAL, Some("null"), None, 101)),
        ("an origin that is not allowed", (ALLOWED, Some("https://evil.example"), None, 403)),
        ("no origin, if some are allowed", (ALLOWED, None, None, 101)),
        ("this host, if others are allowed", (ALLOWED, Some("http://other.example"), Some("other.example"), 101)),
        ("any origin, if all are allowed", (&["*"], Some("https://evil.example"), None, 101)),
        ("`null`, if all are allowed", (&["*"], Some("null"), None, 101)),
    ];
    every_row(rows, async |(origins, origin, host, status)| {
        let server = TestServer::start(Server::new(Lobby).origins(origins.iter().copied())).await;
        let mut request = Upgrade::new(server.address());
        if let Some(origin) = origin {
            request = request.and("Origin", origin);
        }
        if let Some(host) = host {
            request = request.with("Host", host);
        }
        let response = request.ask(server.address()).await;
        assert_eq!(response.status, status, "{response:?}");
        server.stop().await;
    })
    .await;
}

/// Tells each player the parameter `uid` of their query.
struct UidReader;

struct Named(Option<String>);

impl Session for Named {}

#[kengine::dispatcher]
impl UidReader {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Named {
        Named(handshake.query("uid").map(Into::into))
    }

    #[route]
    async fn uid<'a>(&self, named: &'a Named) -> Option<&'a str> {
        named.0.as_deref()
    }
}

/// A replacement character for what is not UTF-8 would give two players one uid.
#[tokio::test]
async fn a_query_that_is_not_utf8_is_refused() {
    // The request target, and the uid if the request is accepted.
    let rows: Vec<(_, (&[u8], Option<&str>))> = vec![
        ("no query", (b"/ws", Some("null"))),
        ("a uid", (b"/ws?uid=ada", Some("\"ada\""))),
        ("the first of two", (b"/ws?uid=ada&uid=bob", Some("\"ada\""))),
        ("a space", (b"/ws?uid=a+b%20c", Some("\"a b c\""))),
        ("a letter beyond ASCII", (b"/ws?uid=%c3%a9", Some("\"é\""))),
        ("a letter beyond ASCII as it is", ("/ws?uid=é".as_bytes(), Some("\"é\""))),
        ("a replacement character", (b"/ws?uid=%ef%bf%bd", Some("\"\u{fffd}\""))),
        ("a percent sign alone", (b"/ws?uid=100%", Some("\"100%\""))),
        ("bytes that are never UTF-8", (b"/ws?uid=%ff%fe", None)),
        ("half a character", (b"/ws?uid=%c3", None)),
        ("half a character and another parameter", (b"/ws?uid=%c3&x=%a9", None)),
        ("half a character and the rest as a name", (b"/ws?uid=%c3&%a9", None)),
        ("a surrogate", (b"/ws?uid=%ed%a0%80", None)),
        ("a form that is too long", (b"/ws?uid=%c0%af", None)),
        ("another parameter", (b"/ws?uid=ada&room=%ff", None)),
        ("a later uid", (b"/ws?uid=ada&uid=%ff", None)),
        ("a name", (b"/ws?%ff=1&uid=ada", None)),
        ("a byte as it is", (b"/ws?uid=\xff", None)),
    ];
    let server = TestServer::start(Server::new(UidReader)).await;
    every_row(rows, async |(target, uid)| {
        let request = Upgrade::new(server.address()).path("TARGET").bytes();
        let at = request.windows(6).position(|window| window == b"TARGET").unwrap();
        let mut http = HttpClient::connect(server.address()).await;
        let response = http.request(&[&request[..at], target, &request[at + 6..]].concat()).await;
        assert_eq!(response.status, if uid.is_some() { 101 } else { 400 }, "{response:?}");
        if let Some(uid) = uid {
            let mut client = http.into_websocket();
            assert_eq!(client.ask(r#"{"method":"uid","id":1}"#).await, format!("1: {uid}"));
        } else if !target.contains(&0xff) {
            // hyper refuses with an empty body what it cannot parse.
            assert_eq!(response.error_code(), "bad_request");
        }
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_full_node_refuses_with_503_until_a_place_is_free() {
    let server = TestServer::start(Server::new(Lobby).max_connections(2)).await;
    let mut first = RawClient::connect(server.address()).await;
    let second = RawClient::connect(server.address()).await;
    let upgrade = Upgrade::new(server.address());
    let response = upgrade.ask(server.address()).await;
    assert_eq!((response.status, response.error_code().as_str()), (503, "unavailable"));
    let wait: u32 = response.field("retry-after").and_then(|wait| wait.parse().ok()).expect("a number of seconds");
    assert!(wait > 0);
    // Health and pages are still served.
    let ready = upgrade.clone().path("/readyz").ask(server.address()).await;
    assert_eq!(ready.status, 200, "{ready:?}");

    first.send_frames([ClientFrame::close(1000, "")]).await;
    assert_eq!(first.transcript().await, ["close 1000", "end of TCP"]);
    server.has_room().await;
    drop(second);
    server.stop().await;
}

#[tokio::test]
async fn a_refused_handshake_takes_no_place() {
    let server = TestServer::start(Server::new(Lobby).max_connections(1)).await;
    let upgrade = Upgrade::new(server.address());
    for _ in 0..3 {
        let refused = upgrade.clone().with("Origin", "https://evil.example").ask(server.address()).await;
        assert_eq!(refused.status, 403);
        let refused = upgrade.clone().without("Sec-WebSocket-Key").ask(server.address()).await;
        assert_eq!(refused.status, 400);
    }
    assert_eq!(upgrade.ask(server.address()).await.status, 101);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_while_it_is_accepted_takes_no_place() {
    let plain: Change = |request| request;
    let by_hyper: Change = |request| request.and("Content-Length", "0");
    every_row(vec![("a plain request", plain), ("a request that hyper reads", by_hyper)], async |change| {
        let door = Doorkeeper::default();
        let server = TestServer::start(Server::new(door.clone()).handshake_timeout(Duration::MAX)).await;
        let mut http = HttpClient::connect(server.address()).await;
        http.send(&change(Upgrade::new(server.address())).bytes()).await;
        door.gate.arrived(1).await;
        // The gate stays closed.
        drop(http);
        server.emptied().await;
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn each_part_of_a_request_may_come_in_its_own_segment() {
    let server = TestServer::start(Server::new(Lobby)).await;
    let request = Upgrade::new(server.address()).bytes();
    for at in [1, 3, 14, request.len() - 2, request.len() - 1] {
        let mut http = HttpClient::connect(server.address()).await;
        http.send(&request[..at]).await;
        // Another client is served meanwhile, so the server has read the first part.
        RawClient::connect(server.address()).await.heartbeat().await;
        let response = http.request(&request[at..]).await;
        assert_eq!(response.status, 101, "{at}: {response:?}");
        http.into_websocket().heartbeat().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_socket_may_try_again_after_a_refusal() {
    let server = TestServer::start(Server::new(Lobby)).await;
    let mut http = HttpClient::connect(server.address()).await;
    let upgrade = Upgrade::new(server.address());
    assert_eq!(http.request(&upgrade.clone().path("/nowhere").bytes()).await.status, 404);
    assert_eq!(http.request(&upgrade.clone().with("Sec-WebSocket-Version", "12").bytes()).await.status, 426);
    assert_eq!(http.request(&upgrade.bytes()).await.status, 101);
    let mut client = http.into_websocket();
    client.heartbeat().await;
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn the_path_can_be_set() {
    let server = TestServer::start(Server::new(Lobby).path("/play/now")).await;
    let upgrade = Upgrade::new(server.address());
    assert_eq!(upgrade.clone().path("/play/now").ask(server.address()).await.status, 101);
    assert_eq!(upgrade.clone().path("/play/now?x").ask(server.address()).await.status, 101);
    assert_eq!(upgrade.ask(server.address()).await.status, 404);
    server.stop().await;
}

#[tokio::test]
async fn bytes_that_are_not_http_open_no_connection() {
    let rows: Vec<(_, &[u8])> = vec![
        ("nonsense", b"hello\r\n\r\n"),
        ("a frame", b"\x81\x81\0\0\0\0p\r\n\r\n"),
        ("a field without a colon", b"GET /ws HTTP/1.1\r\nHost\r\n\r\n"),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    ];
    let server = TestServer::start(Server::new(Lobby)).await;
    every_row(rows, async |bytes| {
        let mut http = HttpClient::connect(server.address()).await;
        http.send(bytes).await;
        let rest = http.rest().await;
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 400"), "{:?}", String::from_utf8_lossy(&rest));
    })
    .await;
    let mut client = RawClient::connect(server.address()).await;
    client.heartbeat().await;
    drop(client);
    server.stop().await;
}
