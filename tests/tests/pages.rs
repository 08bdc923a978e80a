//! What is served on the port besides the WebSocket.

use kengine::Server;
use kengine_tests::{HttpClient, Lobby, TestServer, every_row};

#[tokio::test]
async fn pages_and_health_are_plain_http() {
    const HTML: &str = "text/html; charset=utf-8";
    const PLAIN: &str = "text/plain; charset=utf-8";
    // The request's first line, the status, the content type and the body of the answer.
    let rows = [
        ("health", ("GET /healthz", 200, PLAIN, "ok\n")),
        ("readiness", ("GET /readyz", 200, PLAIN, "ready\n")),
        ("a page", ("GET /", 200, HTML, "<h1>a game</h1>")),
        ("a page with a query", ("GET /?x=1", 200, HTML, "<h1>a game</h1>")),
        ("another page", ("GET /game.js", 200, "text/javascript", "play()")),
        ("the header of a page", ("HEAD /", 200, HTML, "")),
        ("the header of health", ("HEAD /healthz", 200, PLAIN, "")),
    ];
    let server = Server::new(Lobby).page("/", HTML, "<h1>a game</h1>").page(
        "/game.js",
        "text/javascript",
        b"play()".to_vec(),
    );
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
        ("no page", ("GET /nowhere", 404, "not_found", None)),
        ("a page below", ("GET /healthz/", 404, "not_found", None)),
        ("a POST to no page", ("POST /nowhere", 404, "not_found", None)),
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
async fn a_second_server_cannot_have_the_port() {
    let server = TestServer::start(Server::new(Lobby)).await;
    let refused = Server::new(Lobby).bind(server.address()).await.expect_err("the port is taken");
    assert_eq!(refused.code(), "bind");
    assert!(refused.message().contains(&server.address().to_string()), "{refused}");
    server.stop().await;
}
