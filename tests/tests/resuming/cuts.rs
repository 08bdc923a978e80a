//! Connections that are cut, and clients that come back in time.

use kengine_tests::{Harbor, Line, Place, ReturningClient, TestServer, until};

async fn start(harbor: &Harbor) -> TestServer {
    TestServer::start(harbor.server()).await
}

/// Waits until this many players are away.
async fn away(server: &TestServer, count: usize) {
    until(&format!("{count} who are away"), async || (server.hub().suspended() == count).then_some(())).await;
}

#[tokio::test]
async fn a_player_comes_back_and_has_lost_nothing() {
    let harbor = Harbor::default();
    let server = start(&harbor).await;
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    assert_eq!(ada.ask("count", 1, 1).await, "1: 1");
    ada.cut();
    assert_eq!(harbor.noted(2).await, ["open ada", "suspend ada"]);
    let sailor = harbor.sailor();
    assert!(sailor.is_suspended());
    assert_eq!((server.hub().connections(), server.hub().suspended()), (1, 1));
    assert!(server.hub().user("ada").is_here());
    for number in 0..3 {
        sailor.send(&Line(number)).expect("room in the outbox");
    }
    ada.request("count", 2, 2).await;
    assert!(ada.come_back().await);
    assert_eq!(harbor.noted(1).await, ["resume ada"]);
    assert!(!sailor.is_suspended());
    assert_eq!(server.hub().suspended(), 0);
    for number in 0..3 {
        ada.expect(&format!(r#"{{"method":"line","message":{number}}}"#)).await;
    }
    assert_eq!(ada.answer(2).await, "2: 2");
    assert_eq!(harbor.handled(), [1, 2]);
    ada.socket().heartbeat().await;
    ada.socket().send_frames([kengine_tests::ClientFrame::close(1000, "")]).await;
    ada.expect("close 1000").await;
    server.stop().await;
    assert_eq!(harbor.notes(), ["close (closed by the client: 1000 \"\") ada"]);
}

#[tokio::test]
async fn every_kind_of_cut_suspends_and_every_kind_of_end_does_not() {
    let harbor = Harbor::default();
    let server = start(&harbor).await;
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    for kind in ["end", "reset", "going away"] {
        match kind {
            "end" => ada.cut(),
            "reset" => ada.reset(),
            _ => {
                ada.socket().send_frames([kengine_tests::ClientFrame::close(1001, "")]).await;
                ada.expect("close 1001").await;
                ada.cut();
            }
        }
        away(&server, 1).await;
        assert!(ada.come_back().await, "{kind}");
    }
    for (code, answer) in [(1000, "close 1000"), (4999, "close 4999")] {
        let mut bob = ReturningClient::connect(server.address(), "bob").await;
        bob.socket().send_frames([kengine_tests::ClientFrame::close(code, "")]).await;
        bob.expect(answer).await;
        assert!(!bob.come_back().await, "{code}");
    }
    drop(ada);
    server.stop().await;
}

#[tokio::test]
async fn a_handler_goes_on_and_its_answer_waits() {
    let harbor = Harbor::default();
    let server = start(&harbor).await;
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    ada.request("wait", (), 1).await;
    ada.request("count", 2, 2).await;
    harbor.gate.arrived(1).await;
    ada.socket().send_frames([kengine_tests::ClientFrame::ping("here")]).await;
    assert_eq!(ada.socket().frame().await, "pong \"here\"");
    ada.cut();
    away(&server, 1).await;
    harbor.gate.open(1);
    until("the second request", async || (harbor.handled() == [2]).then_some(())).await;
    assert!(ada.come_back().await);
    ada.expect("1: \"done\"").await;
    ada.expect("2: 2").await;
    assert_eq!(ada.unacknowledged(), 0);
    drop(ada);
    server.stop().await;
}

#[tokio::test]
async fn half_a_message_does_not_count() {
    let harbor = Harbor::default();
    let server = start(&harbor).await;
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    let text = r#"{"method":"count","message":1,"id":1}"#;
    let bytes = kengine_tests::ClientFrame::text(text).bytes();
    for length in [1, 2, 5, 6, 7, bytes.len() - 1] {
        ada.socket().send(&bytes[..length]).await;
        ada.cut();
        away(&server, 1).await;
        assert!(ada.come_back().await);
    }
    assert_eq!(ada.ask("count", 1, 1).await, "1: 1");
    assert_eq!(harbor.handled(), [1]);
    drop(ada);
    server.stop().await;
}

#[tokio::test]
async fn a_half_dead_connection_is_taken_over_at_once() {
    let harbor = Harbor::default();
    let server = start(&harbor).await;
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    assert_eq!(ada.ask("count", 1, 1).await, "1: 1");
    // The old socket stays open, and reads nothing.
    let mut old = ada.leave_socket();
    harbor.sailor().send(&Line(7)).expect("room in the outbox");
    assert!(ada.come_back().await);
    ada.expect(r#"{"method":"line","message":7}"#).await;
    assert_eq!(harbor.noted(3).await, ["open ada", "suspend ada", "resume ada"]);
    assert_eq!(old.frame().await, r#"{"method":"line","message":7}"#);
    assert_eq!(old.frame().await, "close 4500");
    assert_eq!(ada.ask("count", 2, 2).await, "2: 2");
    old.answer_close(4500).await;
    until("the end of the old socket", async || (server.hub().connections() == 1).then_some(())).await;
    drop(ada);
    server.stop().await;
}

#[tokio::test]
async fn only_the_newest_of_the_latest_pushes_is_sent_again() {
    let harbor = Harbor::default();
    let server = start(&harbor).await;
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    let sailor = harbor.sailor();
    // These are sent, and the client does not read them.
    for at in 0..3 {
        sailor.send(&Place { ship: 1, at }).expect("room in the outbox");
        sailor.send(&Place { ship: 2, at }).expect("room in the outbox");
        until("an empty outbox", async || (sailor.queued().pushes == 0).then_some(())).await;
    }
    ada.cut();
    away(&server, 1).await;
    sailor.send(&Place { ship: 1, at: 3 }).expect("room in the outbox");
    sailor.send(&Place { ship: 1, at: 4 }).expect("room in the outbox");
    assert!(ada.come_back().await);
    ada.expect(r#"{"method":"place","message":{"ship":2,"at":2}}"#).await;
    ada.expect(r#"{"method":"place","message":{"ship":1,"at":4}}"#).await;
    assert_eq!(ada.ask("count", 1, 1).await, "1: 1");
    drop(ada);
    server.stop().await;
}
