//! HTTP on the server's port: pages, health and readiness, and the timeouts of sockets.

use std::time::Duration;

use kengine::{Handshake, Refusal, Server, StartError};
use kengine_tests::{ClientFrame, HttpClient, Lobby, TestServer, Upgrade, every_row};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};

#[tokio::test]
async fn pages_and_health_are_plain_http() {
    const HTML: &str = "text/html; charset=utf-8";
    const PLAIN: &str = "text/plain; charset=utf-8";
    // The request's first line, and the status, content type and body of the response.
    let rows = [
        ("health", ("GET /healthz", 200, PLAIN, "ok\n")),
        ("readiness", ("GET /readyz", 200, PLAIN, "ready\n")),
        ("a page", ("GET /", 200, HTML, "<h1>a game</h1>")),
        ("a page with a query", ("GET /?x=1", 200, HTML, "<h1>a game</h1>")),
        ("another page", ("GET /game.js", 200, "text/javascript", "play()")),
        ("the header of a page", ("HEAD /", 200, HTML, "")),
        ("the header of health", ("HEAD /healthz", 200, PLAIN, "")),
    ];
    let server =
        Server::new(Lobby).page("/", HTML, "<h1>a game</h1>").page("/game.js", "text/javascript", b"play()".to_vec());
    let server = TestServer::start(server).await;
    let ask = async |line: &str| {
        let request = format!("{line} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address());
        HttpClient::connect(server.address()).await.request(request.as_bytes()).await
    };
    every_row(rows, async |(line, status, content_type, body)| {
        let response = ask(line).await;
        assert_eq!((response.status, response.body.as_str()), (status, body), "{response:?}");
        assert_eq!(response.field("content-type"), Some(content_type));
    })
    .await;
    assert_eq!(ask("HEAD /").await.field("content-length"), Some("15"), "the length that a GET would have");

    let refused = [
        ("a POST to a page", ("POST /", 405, "method_not_allowed", Some("GET, HEAD"))),
        ("a DELETE of health", ("DELETE /healthz", 405, "method_not_allowed", Some("GET, HEAD"))),
        ("an unknown page", ("GET /nowhere", 404, "not_found", None)),
        ("a page below", ("GET /healthz/", 404, "not_found", None)),
        ("a POST to an unknown page", ("POST /nowhere", 404, "not_found", None)),
    ];
    every_row(refused, async |(line, status, code, allow)| {
        let response = ask(line).await;
        assert_eq!((response.status, response.error_code().as_str()), (status, code), "{response:?}");
        assert_eq!(response.field("allow"), allow);
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn one_socket_serves_many_requests() {
    let server = TestServer::start(Server::new(Lobby)).await;
    let mut http = HttpClient::connect(server.address()).await;
    for _ in 0..3 {
        assert_eq!(http.request(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.body, "ok\n");
        assert_eq!(http.request(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.status, 200);
    }
    drop(http);
    server.stop().await;
}

#[tokio::test]
async fn a_page_needs_a_valid_host_unless_the_client_is_old() {
    let rows = [
        ("any host", ("GET /healthz HTTP/1.1\r\nHost: x", 200)),
        ("no host", ("GET /healthz HTTP/1.1", 400)),
        ("two hosts", ("GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y", 400)),
        ("not a host", ("GET /healthz HTTP/1.1\r\nHost: a b", 400)),
        ("HTTP/1.0 without a host", ("GET /healthz HTTP/1.0", 200)),
        ("HTTP/1.0 with a host", ("GET /healthz HTTP/1.0\r\nHost: x", 200)),
        ("HTTP/1.0 with two hosts", ("GET /healthz HTTP/1.0\r\nHost: x\r\nHost: y", 400)),
    ];
    let server = TestServer::start(Server::new(Lobby)).await;
    every_row(rows, async |(lines, status)| {
        let request = format!("{lines}\r\n\r\n");
        let response = HttpClient::connect(server.address()).await.request(request.as_bytes()).await;
        assert_eq!(response.status, status, "{response:?}");
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_second_server_cannot_have_the_port() {
    let server = TestServer::start(Server::new(Lobby)).await;
    let refused = Server::new(Lobby).bind(server.address()).await.expect_err("the port is taken");
    assert!(matches!(refused, StartError::Bind { .. }), "{refused}");
    assert!(refused.to_string().contains(&server.address().to_string()), "{refused}");
    server.stop().await;
}

#[tokio::test]
async fn a_given_listener_serves_also_clients_that_connected_before() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let mut early = HttpClient::connect(address).await;
    listener.set_nonblocking(true).expect("a socket");
    let listener = TcpListener::from_std(listener).expect("a listener");
    let bound = Server::new(Lobby).bind_to(listener).expect("a valid configuration");
    assert_eq!(bound.local_addr(), address);
    let serving = tokio::spawn(bound.serve_until(std::future::pending()));
    assert_eq!(early.request(&Upgrade::new(address).bytes()).await.status, 101);
    for mut client in [early.into_websocket(), Upgrade::new(address).open(address).await] {
        client.send_frames([ClientFrame::text("p")]).await;
        assert_eq!(client.frame().await, "q");
    }
    serving.abort();

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let refused = Server::new(Lobby).path("ws").bind_to(listener).expect_err("not a path");
    assert!(matches!(refused, StartError::Config(_)), "{refused}");
}

#[tokio::test]
async fn an_invalid_path_or_origin_is_an_error_of_bind() {
    let page = |path: &'static str| Server::new(Lobby).page(path, "text/plain", "x");
    let origin = |origin: &str| Server::new(Lobby).origins([origin]);
    let rows = [
        ("a WebSocket without a slash", Server::new(Lobby).path("ws"), "`ws` is not a path; write `/ws`"),
        ("a page without a slash", page("game.js"), "`game.js` is not a path; write `/game.js`"),
        ("a page without a path", page(""), "`` is not a path; write `/`"),
        ("a page with a query", page("/?x=1"), "no request can have the path `/?x=1`; leave out a query"),
        ("a page with a space", page("/a b"), "no request can have the path `/a b`"),
        ("a page beyond ASCII", page("/é"), "no request can have the path `/é`"),
        ("a page at the WebSocket", page("/ws"), "the page at `/ws` has the path of the WebSocket"),
        (
            "an origin without a scheme",
            origin("game.example"),
            "`game.example` is not an origin; write it with its scheme",
        ),
        ("an origin with a path", origin("https://game.example/play"), "write the scheme, the host and the port alone"),
        ("an origin with a user", origin("https://a@game.example"), "write the scheme, the host and the port alone"),
        ("an origin for many", origin("https://*.game.example"), "write each host out, or `*` alone"),
        ("an origin beyond ASCII", origin("https://spiél.example"), "write the host as browsers send it, in ASCII"),
        ("an origin without a host", origin("https://"), "write a host"),
        ("an origin without a port", origin("https://game.example:"), "write a host, and a port if"),
        ("an origin with a name for a port", origin("https://game.example:https"), "write a host, and a port if"),
    ];
    for (row, server, words) in rows {
        let refused = server.bind("127.0.0.1:0").await.expect_err(row);
        assert!(matches!(refused, StartError::Config(_)), "{row}");
        assert!(refused.to_string().contains(words), "{row}: {refused}");
    }
    let many = page("game.js").origins(["https://game.example/play"]).bind("127.0.0.1:0").await;
    let many = many.expect_err("two mistakes");
    assert!(
        many.to_string().contains("`game.js` is not a path") && many.to_string().contains("is not an origin"),
        "{many}"
    );
    let _ = page("/game%20of/life.js").path("/").bind("127.0.0.1:0").await.expect("all can be found");
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_not_read_is_dropped_after_a_minute() {
    // More than the kernel's buffers hold.
    const SIZE: usize = 64 << 20;
    let server = Server::new(Lobby).page("/", "text/plain", vec![b'x'; SIZE]);
    let server = TestServer::start(server).await;
    let mut http = HttpClient::connect(server.address()).await;
    http.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    // The request might also have been a handshake, so the handshake timeout comes on top.
    sleep(Duration::from_secs(60 + 10 + 1)).await;
    let read = http.rest().await.len();
    assert!((1..SIZE).contains(&read), "{read} bytes of {SIZE}");
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_socket_is_served_pages_for_a_minute() {
    let server = TestServer::start(Server::new(Lobby)).await;
    let mut http = HttpClient::connect(server.address()).await;
    let begun = Instant::now();
    while http.try_request(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.is_some() {
        sleep(Duration::from_secs(5)).await;
        assert!(begun.elapsed().as_secs() <= 60, "the socket is still served");
    }
    assert_eq!(begun.elapsed().as_secs(), 60);
    server.stop().await;
}

/// Takes this long to accept or refuse each client.
struct Slow(Duration);

#[kengine::dispatcher]
impl Slow {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<(), Refusal> {
        sleep(self.0).await;
        if handshake.query_string().is_none() { Ok(()) } else { Err(Refusal::unauthorized("no")) }
    }

    #[route]
    async fn chat(&self) {}
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_its_own_timeout_besides_that_of_pages() {
    let slow = Slow(Duration::from_secs(100));
    let server = TestServer::start(Server::new(slow).handshake_timeout(Duration::from_secs(110))).await;
    let rows = [("accepted", ("/ws", 101)), ("refused", ("/ws?x", 401))];
    for (row, (path, status)) in rows {
        let mut http = HttpClient::connect(server.address()).await;
        assert_eq!(http.request(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.status, 200, "{row}");
        sleep(Duration::from_secs(50)).await;
        http.send(&Upgrade::new(server.address()).path(path).bytes()).await;
        sleep(Duration::from_secs(101)).await;
        assert_eq!(http.response(false).await.status, status, "{row}");
        if status == 101 {
            let mut client = http.into_websocket();
            client.heartbeat().await;
        } else {
            assert_eq!(http.rest().await, b"", "{row}");
        }
    }
    server.stop().await;
}
