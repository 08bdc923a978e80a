//! Tokens that are not, or not any more, those of the client's session: each has its exact answer.

use kengine_tests::{ClientFrame, Harbor, HttpClient, RESUME, ReturningClient, TestServer, Upgrade, until};
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

#[tokio::test]
async fn every_other_token_begins_another_session() {
    let harbor = Harbor::default();
    let server = TestServer::start(harbor.server()).await;
    let another_node = TestServer::start(Harbor::default().server()).await;
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    let mut stranger = ReturningClient::connect(another_node.address(), "ada").await;
    ada.cut();
    until("a suspended session", async || (server.hub().suspended() == 1).then_some(())).await;
    let token = ada.token().to_owned();
    let (tag, secret) = token.split_once('-').expect("a tag");
    let guessed = format!("{tag}-{}", secret.chars().rev().collect::<String>());
    let query = |uid: &str, token: &str, received: &str| format!("uid={uid}&resume={token}&received={received}");
    for (what, query) in [
        ("another player's", query("bob", &token, "0")),
        ("a guest's", format!("resume={token}&received=0")),
        ("another node's", query("bob", stranger.token(), "0")),
        ("guessed", query("bob", &guessed, "0")),
        ("of no node", query("bob", secret, "0")),
        ("with another tag", query("bob", &format!("00000000-{secret}"), "0")),
        ("in capitals", query("bob", &token.to_uppercase(), "0")),
        ("empty", query("bob", "", "0")),
        ("malformed", query("bob", "%00%22", "0")),
        ("without a count", format!("uid=bob&resume={token}")),
        ("with a malformed count", query("bob", &token, "-1")),
        ("with a count that is too large", query("bob", &token, "18446744073709551616")),
    ] {
        assert_eq!(answer(&server, &query).await, ANOTHER, "{what}");
        assert!(harbor.sailors()[0].is_suspended(), "{what}");
    }
    // A request as long as that is none.
    for length in [64 * 1024, 1024 * 1024] {
        let upgrade = Upgrade::new(server.address()).path(format!("/ws?uid=bob&resume={}", "0".repeat(length)));
        let mut http = HttpClient::connect(server.address()).await;
        http.try_send(&upgrade.with("Sec-WebSocket-Protocol", RESUME).bytes()).await;
        let status = http.next(false).await.map(|response| response.status);
        assert!(matches!(status, Ok(414 | 431) | Err(_)), "{length}: {status:?}");
    }
    // None of them has ended her session.
    assert!(ada.come_back().await);
    // A count that cannot be right does.
    ada.cut();
    let path = format!("uid=ada&resume={}&received=99", ada.token());
    assert_eq!(answer(&server, &path).await, ANOTHER);
    assert!(!ada.come_back().await);
    stranger.cut();
    drop((ada, stranger));
    server.stop().await;
    another_node.stop().await;
}

#[tokio::test]
async fn a_guest_resumes_by_the_token_alone() {
    let harbor = Harbor::default();
    let server = TestServer::start(harbor.server()).await;
    let mut guest = ReturningClient::connect_to(server.address(), "/ws").await;
    let uid = harbor.sailor().uid().clone();
    guest.cut();
    assert_eq!(harbor.noted(2).await, ["open guest", "suspend guest"]);
    let as_ada = format!("uid=ada&resume={}&received=0", guest.token());
    assert_eq!(answer(&server, &as_ada).await, ANOTHER, "a guest's session is no user's");
    assert!(guest.come_back().await);
    assert_eq!(guest.ask("count", 1, 1).await, "1: 1");
    assert_eq!(harbor.sailors()[0].uid(), &uid);
    drop(guest);
    server.stop().await;
}

#[tokio::test]
async fn nothing_changes_for_others() {
    let harbor = Harbor::default();
    let server = TestServer::start(harbor.server()).await;
    let mut plain = Upgrade::new(server.address()).path("/ws?uid=ada&resume=x&received=0").open(server.address()).await;
    plain.send_frames([ClientFrame::text(r#"{"ack":1}"#)]).await;
    assert_eq!(plain.frame().await, "error bad_request");
    plain.reset();
    assert_eq!(harbor.noted(2).await, ["open ada", "close (lost) ada"]);
    let both = "kengine.v1.json, kengine.v1.resume.json";
    let upgrade = Upgrade::new(server.address()).with("Sec-WebSocket-Protocol", both);
    assert_eq!(upgrade.ask(server.address()).await.field("sec-websocket-protocol"), Some(RESUME));
    server.stop().await;
    // Where it is not allowed, it is not known.
    let server = TestServer::start(kengine::Server::new(harbor.clone())).await;
    let upgrade = Upgrade::new(server.address()).with("Sec-WebSocket-Protocol", both);
    assert_eq!(upgrade.ask(server.address()).await.field("sec-websocket-protocol"), Some("kengine.v1.json"));
    let upgrade = Upgrade::new(server.address()).with("Sec-WebSocket-Protocol", RESUME);
    assert_eq!(upgrade.ask(server.address()).await.status, 400);
    server.stop().await;
}

#[tokio::test]
async fn who_acknowledges_more_than_was_sent_is_closed() {
    let harbor = Harbor::default();
    let server = TestServer::start(harbor.server()).await;
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    assert_eq!(ada.ask("count", 1, 1).await, "1: 1");
    for (ack, answer) in [(0, "pong \"\""), (1, "pong \"\""), (0, "pong \"\""), (2, "close 1002")] {
        let frames = [ClientFrame::text(format!("{{\"ack\":{ack}}}")), ClientFrame::ping("")];
        ada.socket().send_frames(frames).await;
        assert_eq!(ada.socket().frame().await, answer, "{ack}");
    }
    ada.cut();
    assert!(!ada.come_back().await);
    drop(ada);
    server.stop().await;
}
