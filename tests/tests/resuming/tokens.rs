//! Tokens that are not, or not any more, those of the client's session: each has its exact answer.

use kengine_tests::{Harbor, RESUME, ReturningClient, TestServer, Upgrade};
use serde_json::Value;

/// Connects with these parameters, and returns the first message without its token and its duration.
async fn answer(server: &TestServer, query: &str) -> String {
    let upgrade = Upgrade::new(server.address()).path(format!("/ws?{query}")).with("Sec-WebSocket-Protocol", RESUME);
    let mut socket = upgrade.open(server.address()).await;
    let mut first: Value = serde_json::from_slice(&socket.next().await.expect("a message").payload).expect("JSON");
    let members = first["resume"].as_object_mut().expect("an object");
    assert!(members.remove("token").is_some() && members.remove("within").is_some());
    first["resume"].to_string()
}

const ANOTHER: &str = r#"{"resumed":false}"#;

#[tokio::test]
async fn a_token_is_used_once() {
    let harbor = Harbor::default();
    let server = TestServer::start(harbor.server()).await;
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    let first = ada.way_back();
    ada.cut();
    assert!(ada.come_back().await);
    // It shows that it has got the next token.
    assert_eq!(ada.ask("count", 1, 1).await, "1: 1");
    assert_eq!(answer(&server, first.strip_prefix("/ws?").unwrap()).await, ANOTHER);
    // A newer connection of the user has ended the session.
    ada.expect("close 4500").await;
    drop(ada);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_never_got_the_next_token_comes_back_with_the_last_one() {
    let harbor = Harbor::default();
    let server = TestServer::start(harbor.server()).await;
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    let first = ada.way_back();
    ada.cut();
    for _ in 0..100 {
        // Cut again before anything has come from the client.
        let answered = answer(&server, first.strip_prefix("/ws?").unwrap()).await;
        assert_eq!(answered, r#"{"received":0,"resumed":true}"#);
    }
    assert!(ada.come_back().await);
    assert_eq!(ada.ask("count", 1, 1).await, "1: 1");
    drop(ada);
    server.stop().await;
}
