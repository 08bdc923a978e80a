//! Tokens that are not, or not any more, those of the client's session: each has its exact answer.

use std::net::SocketAddr;

use kengine::{Duplicates, cluster::Redis};
use kengine_tests::{
    ClientFrame, Harbor, HttpClient, RESUME, RedisServer, ReturningClient, TestGateway, TestServer, Upgrade, until,
};
use serde_json::Value;

/// Connects with these parameters, and returns the first message without its token and its duration.
async fn answer(address: SocketAddr, query: &str) -> String {
    let upgrade = Upgrade::new(address).path(format!("/ws?{query}")).with("Sec-WebSocket-Protocol", RESUME);
    let mut socket = upgrade.open(address).await;
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
    assert_eq!(answer(server.address(), first.strip_prefix("/ws?").unwrap()).await, ANOTHER);
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
        let answered = answer(server.address(), first.strip_prefix("/ws?").unwrap()).await;
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
        assert_eq!(answer(server.address(), &query).await, ANOTHER, "{what}");
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
    assert_eq!(answer(server.address(), &path).await, ANOTHER);
    assert!(!ada.come_back().await);
    stranger.cut();
    drop((ada, stranger));
    server.stop().await;
    another_node.stop().await;
}

#[tokio::test]
async fn a_token_that_is_stolen_after_its_use_is_worth_nothing() {
    let harbor = Harbor::default();
    let server = TestServer::start(harbor.server().duplicates(Duplicates::Refuse)).await;
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    let mut stolen = Vec::new();
    for round in 0..4 {
        stolen.push(ada.token().to_owned());
        ada.cut();
        assert!(ada.come_back().await);
        assert_eq!(ada.ask("count", round, round).await, format!("{round}: {round}"));
        for token in &stolen {
            for who in ["uid=bob&", ""] {
                assert_eq!(answer(server.address(), &format!("{who}resume={token}&received=0")).await, ANOTHER);
            }
            // The thief may even be logged in as the player: an older connection has the uid.
            let path = format!("/ws?uid=ada&resume={token}&received=0");
            let upgrade = Upgrade::new(server.address()).path(path).with("Sec-WebSocket-Protocol", RESUME);
            assert_eq!(upgrade.open(server.address()).await.frame().await, "close 4503");
        }
    }
    // A token of a session that has ended is worth nothing either, not even for its player.
    let path = ada.way_back();
    ada.leave().await;
    assert_eq!(answer(server.address(), path.strip_prefix("/ws?").unwrap()).await, ANOTHER);
    drop(ada);
    server.stop().await;
}

#[tokio::test]
async fn every_other_token_begins_another_session_behind_the_gateway_too() {
    let redis = RedisServer::start().await;
    let harbors = [(); 3].map(|()| Harbor::default());
    let mut servers = Vec::new();
    for harbor in &harbors {
        servers.push(redis.serve(harbor.server().cluster(Redis::new(redis.url()))).await);
    }
    let mut elsewhere = ReturningClient::connect(servers[1].address(), "elsewhere").await;
    let gone = ReturningClient::connect(servers[2].address(), "gone").await.token().to_owned();
    servers.pop().expect("a server").stop().await;
    let gateway = TestGateway::start(&redis.url()).await;
    let mut ada = ReturningClient::connect(servers[0].address(), "ada").await;
    ada.come_back_to(gateway.address());
    elsewhere.come_back_to(gateway.address());
    let used = ada.token().to_owned();
    ada.cut();
    assert!(ada.come_back().await);
    assert_eq!(ada.ask("count", 1, 1).await, "1: 1");
    ada.cut();
    elsewhere.cut();
    for server in &servers {
        until("a suspended session", async || (server.hub().suspended() == 1).then_some(())).await;
    }
    let token = ada.token().to_owned();
    let (tag, secret) = token.split_once('-').expect("a tag");
    let (other_tag, other_secret) = elsewhere.token().split_once('-').expect("a tag");
    let reversed: String = secret.chars().rev().collect();
    let query = |token: &str| format!("uid=bob&resume={token}&received=0");
    for (what, query) in [
        ("another player's", query(&token)),
        ("a guest's", format!("resume={token}&received=0")),
        ("used", query(&used)),
        ("guessed", query(&format!("{tag}-{reversed}"))),
        ("another session's, with this node's tag", query(&format!("{tag}-{other_secret}"))),
        ("with another node's tag", query(&format!("{other_tag}-{secret}"))),
        ("of a node that is gone", query(&gone)),
        ("of no node", query(&format!("00000000-{secret}"))),
        ("without a tag", query(secret)),
        ("in capitals", query(&token.to_uppercase())),
        ("empty", query("")),
        ("malformed", query("%00%22")),
        ("given twice", format!("{}&resume={token}", query(&token))),
        ("long", query(&"0".repeat(7000))),
        ("with a malformed count", format!("uid=bob&resume={token}&received=-1")),
        ("without a count", format!("uid=bob&resume={token}")),
    ] {
        assert_eq!(answer(gateway.address(), &query).await, ANOTHER, "{what}");
        let own = [&harbors[0].sailors()[0], &harbors[1].sailors()[0]];
        assert!(own.iter().all(|sailor| sailor.is_suspended()), "{what}");
    }
    for length in [64 * 1024, 1024 * 1024] {
        let upgrade = Upgrade::new(gateway.address()).path(format!("/ws?{}", query(&"0".repeat(length))));
        let response = upgrade.with("Sec-WebSocket-Protocol", RESUME).ask(gateway.address()).await;
        assert_eq!(response.status, 414, "{length}");
    }
    // None of them has ended a session, and their own tokens hold.
    assert!(ada.come_back().await);
    assert!(elsewhere.come_back().await);
    assert_eq!(ada.ask("count", 2, 2).await, "2: 2");
    assert_eq!(elsewhere.ask("count", 3, 3).await, "3: 3");
    assert_eq!(gateway.errors(), "");
    assert!(!gateway.accesses().contains("resume="), "a token is logged");
    drop((ada, elsewhere));
    for server in servers {
        server.stop().await;
    }
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
    assert_eq!(answer(server.address(), &as_ada).await, ANOTHER, "a guest's session is no user's");
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
