//! Refusals of a handshake: a page in a browser, which cannot read a status, is told by a close code.

use std::{net::SocketAddr, time::Duration};

use kengine::{RefusalForm, Server};
use kengine_tests::{
    ClientFrame, Doorkeeper, Gatehouse, HttpClient, RawClient, TestServer, Upgrade, connect_from, every_row, until,
};

/// The header field that a browser adds to a request of the server's own page.
fn page(server: SocketAddr, path: &str) -> Upgrade {
    Upgrade::new(server).path(path).with("Origin", format!("http://{server}"))
}

/// Reads the close frame, which comes first.
async fn told(client: &mut RawClient) -> (u16, String) {
    let frame = client.next().await.expect("a close frame");
    let (code, reason) = frame.close().unwrap_or_else(|| panic!("not a close frame: {frame}"));
    (code, reason.to_owned())
}

fn reason(code: u16, reason: &str) -> (u16, String) {
    (code, reason.to_owned())
}

#[tokio::test]
async fn a_page_is_told_by_a_close_code() {
    let rows = [
        ("401", ("/ws?status=401", 4504, "closed: not today")),
        ("403", ("/ws?status=403", 4505, "closed: not today")),
        ("404", ("/ws?status=404", 4505, "closed: not today")),
        ("429", ("/ws?status=429", 4004, "closed, retry after 7 s: not today")),
        ("503", ("/ws?status=503", 4004, "closed, retry after 7 s: not today")),
        ("500", ("/ws?status=500", 1011, "closed: not today")),
        ("a panic", ("/ws?status=panic", 1011, "internal: internal error")),
    ];
    let game = Gatehouse::default();
    let server = TestServer::start(Server::new(game.clone())).await;
    every_row(rows, async |(path, code, text)| {
        let mut client = page(server.address(), path).open(server.address()).await;
        assert_eq!(told(&mut client).await, reason(code, text));
        // There is no connection, although the close handshake is not complete.
        assert_eq!(server.hub().connections(), 0);
        client.answer_close(code).await;
    })
    .await;
    assert_eq!(game.hooks(), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_offers_the_subprotocol_is_told_by_a_close_code() {
    let server = TestServer::start(Server::new(Gatehouse::default())).await;
    let offer = |upgrade: Upgrade| upgrade.with("Sec-WebSocket-Protocol", "token, kengine.v1.json");
    for request in [Upgrade::new(server.address()).path("/ws?status=401"), page(server.address(), "/ws?status=401")] {
        let mut http = HttpClient::connect(server.address()).await;
        let response = http.request(&offer(request).bytes()).await;
        assert_eq!((response.status, response.field("sec-websocket-protocol")), (101, Some("kengine.v1.json")));
        assert_eq!(response.field("sec-websocket-accept"), Some(Upgrade::ACCEPT));
        assert_eq!(response.field("set-cookie"), Some("ticket=none"));
        assert_eq!(response.field("retry-after"), None);
        let mut client = http.into_websocket();
        assert_eq!(told(&mut client).await, reason(4504, "closed: not today"));
        client.answer_close(4504).await;
    }
    server.stop().await;
}

/// What is no handshake of a page that may connect gets a status.
#[tokio::test]
async fn all_other_refusals_have_a_status() {
    type Change = fn(Upgrade, SocketAddr) -> Upgrade;
    let rows: Vec<(_, (Change, u16, &str))> = vec![
        ("no page", (|request, _| request.without("Origin").path("/ws?status=401"), 401, "closed")),
        ("a page of another origin", (|request, _| request.with("Origin", "https://evil.example"), 403, "forbidden")),
        (
            "a page of another origin, which the game would refuse",
            (|request, _| request.with("Origin", "https://evil.example").path("/ws?status=401"), 403, "forbidden"),
        ),
        ("another path", (|request, _| request.path("/other"), 404, "not_found")),
        ("no key", (|request, _| request.without("Sec-WebSocket-Key"), 400, "bad_request")),
        ("another version", (|request, _| request.with("Sec-WebSocket-Version", "8"), 426, "upgrade_required")),
        (
            "an unknown subprotocol",
            (|request, _| request.with("Sec-WebSocket-Protocol", "kengine.v2.json"), 400, "bad_request"),
        ),
        (
            "another host",
            (
                |request, _| request.with("Host", "evil.example").with("Origin", "http://evil.example"),
                421,
                "misdirected_request",
            ),
        ),
    ];
    let server = TestServer::start(Server::new(Gatehouse::default()).hosts(["127.0.0.1"])).await;
    every_row(rows, async |(change, status, code)| {
        let request = change(page(server.address(), "/ws"), server.address());
        let response = request.ask(server.address()).await;
        assert_eq!((response.status, response.error_code().as_str()), (status, code));
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_server_can_choose_the_status_for_every_client() {
    let server = Server::new(Gatehouse::default()).tell_refusals(RefusalForm::Status);
    let server = TestServer::start(server).await;
    let request = page(server.address(), "/ws?status=401").with("Sec-WebSocket-Protocol", "kengine.v1.json");
    let response = request.ask(server.address()).await;
    assert_eq!((response.status, response.error_code().as_str()), (401, "closed"));
    assert_eq!(response.field("retry-after"), Some("7"));
    server.stop().await;
}

#[tokio::test]
async fn a_page_is_told_that_the_node_is_full_or_draining() {
    let game = Doorkeeper::default();
    let mut server = TestServer::start(Server::new(game.clone()).max_connections(1)).await;
    let address = server.address();
    let accepting = tokio::spawn(async move { page(address, "/ws").open(address).await });
    game.gate.arrived(1).await;
    let mut client = page(server.address(), "/ws").open(server.address()).await;
    assert_eq!(told(&mut client).await, reason(4004, "unavailable, retry after 1 s: this node is full"));
    client.answer_close(4004).await;
    server.shut_down();
    server.drains().await;
    game.gate.open(1);
    let mut drained = accepting.await.expect("a connection");
    assert_eq!(told(&mut drained).await, reason(4004, "unavailable, retry after 1 s: this node is draining"));
    server.ended().await;
}

/// A gateway needs the status to send the page to another node.
#[tokio::test]
async fn a_page_that_a_gateway_may_send_to_another_node_is_refused_by_a_status() {
    let server = TestServer::start(Server::new(Gatehouse::default()).max_connections(1)).await;
    let player = page(server.address(), "/ws").open(server.address()).await;
    let request = page(server.address(), "/ws").with("Kengine-Gateway", "again");
    let response = request.ask(server.address()).await;
    assert_eq!((response.status, response.field("x-accel-redirect")), (503, Some("@again")));
    drop(player);
    server.stop().await;
}

#[tokio::test]
async fn a_page_is_told_that_its_address_connects_too_often() {
    let server = Server::new(Gatehouse::default()).limit_loopback().max_connections_per_address(1);
    let server = TestServer::start(server).await;
    let mut first = page(server.address(), "/ws").open(server.address()).await;
    assert_eq!(first.ask(r#"{"method":"here"}"#).await, "true");
    let mut second = page(server.address(), "/ws").open(server.address()).await;
    let text = "rate_limited, retry after 1 s: this address has too many connections";
    assert_eq!(told(&mut second).await, reason(4004, text));
    drop((first, second));
    server.stop().await;
}

/// hyper serves such a request, because it is not the first one on its socket.
#[tokio::test]
async fn a_page_is_told_by_a_close_code_on_a_socket_that_was_used_before() {
    let server = TestServer::start(Server::new(Gatehouse::default())).await;
    let health = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", server.address());
    let mut http = HttpClient::connect(server.address()).await;
    assert_eq!(http.request(health.as_bytes()).await.status, 200);
    let response = http.request(&page(server.address(), "/ws?status=401").bytes()).await;
    assert_eq!((response.status, response.field("set-cookie")), (101, Some("ticket=none")));
    let mut client = http.into_websocket();
    assert_eq!(told(&mut client).await, reason(4504, "closed: not today"));
    client.answer_close(4504).await;
    server.stop().await;
}

/// A page sends messages as soon as its socket is open, before it reads the close frame.
#[tokio::test]
async fn what_a_refused_page_sends_is_dropped() {
    let game = Gatehouse::default();
    let server = TestServer::start(Server::new(game.clone())).await;
    let rows = [
        ("a request", vec![ClientFrame::text(r#"{"method":"here"}"#)]),
        ("a heartbeat and a ping", vec![ClientFrame::text("p"), ClientFrame::ping("x")]),
        ("a message of 10,000 bytes", vec![ClientFrame::text("x".repeat(10_000))]),
        ("a violation", vec![ClientFrame::text("x").unmasked()]),
    ];
    every_row(rows, async |frames| {
        let mut client = page(server.address(), "/ws?status=401").open(server.address()).await;
        client.send_frames(frames).await;
        assert_eq!(told(&mut client).await, reason(4504, "closed: not today"));
        client.send_frames([ClientFrame::close(4504, "")]).await;
        client.stop_writing().await;
        assert_eq!(client.transcript().await, ["end of TCP"]);
    })
    .await;
    assert_eq!(game.hooks(), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_refused_page_that_never_answers_is_cut_off_after_the_close_timeout() {
    let server = Server::new(Gatehouse::default()).close_timeout(Duration::from_millis(50));
    let server = TestServer::start(server).await;
    let mut client = page(server.address(), "/ws?status=401").open(server.address()).await;
    assert_eq!(told(&mut client).await, reason(4504, "closed: not today"));
    assert_eq!(client.transcript().await, ["reset of TCP"]);
    server.stop().await;
}

#[tokio::test]
async fn refused_pages_that_never_answer_hold_no_more_than_pending_handshakes_do() {
    let server = Server::new(Gatehouse::default()).close_timeout(Duration::MAX);
    let server = TestServer::start(server.max_connections(1).max_pending_handshakes(3)).await;
    let address = server.address();
    let mut hung = Vec::new();
    for used_before in [false, true].into_iter().cycle().take(10) {
        let mut http = HttpClient::connect(address).await;
        if used_before {
            let health = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n");
            assert_eq!(http.request(health.as_bytes()).await.status, 200);
        }
        let response = http.request(&page(address, "/ws?status=401").bytes()).await;
        assert_eq!(response.status, 101);
        hung.push(http.into_websocket());
    }
    // They have no slots.
    let mut player = page(address, "/ws").open(address).await;
    assert_eq!(player.ask(r#"{"method":"here"}"#).await, "true");
    assert_eq!(server.hub().connections(), 1);
    // Only the youngest three may still be open.
    for client in &mut hung[..7] {
        assert_eq!(told(client).await, reason(4504, "closed: not today"));
        assert!(client.next().await.is_err());
    }
    drop((player, hung));
    server.stop().await;
}

#[tokio::test]
async fn refused_pages_of_one_address_hold_no_more_than_its_pending_handshakes_do() {
    let server = Server::new(Gatehouse::default()).close_timeout(Duration::MAX).limit_loopback();
    let server = TestServer::start(server.max_pending_handshakes_per_address(2)).await;
    let address = server.address();
    let connect = async |client: [u8; 4]| {
        let mut http = HttpClient::over(connect_from(client.into(), address).await);
        http.try_request(&page(address, "/ws?status=401").bytes()).await.map(|_| http.into_websocket())
    };
    let mut hung = Vec::new();
    for _ in 0..2 {
        hung.push(connect([127, 0, 0, 2]).await.expect("an answer"));
    }
    assert!(connect([127, 0, 0, 2]).await.is_none());
    assert!(connect([127, 0, 0, 3]).await.is_some());
    // When one has answered, there is room for another.
    let mut client = hung.pop().expect("a client");
    assert_eq!(told(&mut client).await, reason(4504, "closed: not today"));
    client.answer_close(4504).await;
    until("room for a client", async || connect([127, 0, 0, 2]).await).await;
    drop(hung);
    server.stop().await;
}

/// A drain does not wait for refused pages, and they do not outlive it.
#[tokio::test]
async fn a_drain_cuts_off_refused_pages() {
    let server = TestServer::start(Server::new(Gatehouse::default()).close_timeout(Duration::MAX)).await;
    let mut client = page(server.address(), "/ws?status=401").open(server.address()).await;
    assert_eq!(told(&mut client).await, reason(4504, "closed: not today"));
    server.stop().await;
    assert!(client.next().await.is_err());
}
