//! How long, and with how much, a session waits for its player.

use std::time::{Duration, SystemTime};

use kengine::{Close, CloseCode, Duplicates, push::SendError, testing};
use kengine_tests::{Harbor, Line, RESUME, ReturningClient, TestServer, Upgrade, until};

/// Waits until this many players are away.
async fn away(server: &TestServer, count: usize) {
    until(&format!("{count} who are away"), async || (server.hub().suspended() == count).then_some(())).await;
}

#[tokio::test]
async fn a_session_ends_when_its_player_does_not_come_back_in_time() {
    let harbor = Harbor::default();
    let within = Duration::from_millis(50);
    let server = TestServer::start(harbor.server().resume_within(within)).await;
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    assert_eq!(ada.ask("join", "lobby", 1).await, "1: null");
    ada.cut();
    assert_eq!(harbor.noted(3).await, ["open ada", "suspend ada", "close (not resumed) ada"]);
    server.emptied().await;
    assert_eq!((server.hub().suspended(), server.hub().queued_bytes()), (0, 0));
    assert!(!server.hub().user("ada").is_here());
    assert!(!ada.come_back().await);
    drop(ada);
    server.stop().await;
}

#[tokio::test]
async fn a_session_ends_when_too_much_waits_for_its_player() {
    for (most_pushes, most_bytes) in [(8, 1 << 20), (1 << 20, 8 * 31)] {
        let harbor = Harbor::default();
        let server = harbor.server().max_outbox_pushes(most_pushes).max_outbox_size(most_bytes);
        let server = TestServer::start(server).await;
        let mut ada = ReturningClient::connect(server.address(), "ada").await;
        let sailor = harbor.sailor();
        // They leave the outbox, and are kept because the client has not acknowledged them.
        for number in 0..4 {
            sailor.send(&Line(number)).expect("room in the outbox");
            ada.expect(&format!(r#"{{"method":"line","message":{number}}}"#)).await;
        }
        ada.cut();
        away(&server, 1).await;
        for number in 4..8 {
            sailor.send(&Line(number)).expect("room in the outbox");
        }
        assert!(matches!(sailor.send(&Line(8)), Err(SendError::TooSlow)));
        assert!(matches!(sailor.send(&Line(9)), Err(SendError::Closed)));
        assert_eq!(harbor.noted(3).await, ["open ada", "suspend ada", "close (too slow) ada"]);
        server.emptied().await;
        assert_eq!(server.hub().queued_bytes(), 0);
        assert!(!ada.come_back().await);
        drop(ada);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_session_ends_when_the_answers_are_too_much() {
    let harbor = Harbor::default();
    let server = TestServer::start(harbor.server().max_outbox_size(1000)).await;
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    ada.request("wait", (), 1).await;
    ada.request("letters", 600, 2).await;
    ada.request("letters", 600, 3).await;
    harbor.gate.arrived(1).await;
    ada.socket().send_frames([kengine_tests::ClientFrame::ping("here")]).await;
    assert_eq!(ada.socket().frame().await, "pong \"here\"");
    ada.cut();
    away(&server, 1).await;
    harbor.gate.open(1);
    assert_eq!(harbor.noted(2).await.last().map(String::as_str), Some("close (too slow) ada"));
    assert!(!ada.come_back().await);
    drop(ada);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_never_acknowledges_is_served_but_cannot_resume() {
    let harbor = Harbor::default();
    let server = TestServer::start(harbor.server().max_outbox_pushes(16)).await;
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    ada.stop_acknowledging();
    for number in 0..100 {
        assert_eq!(ada.ask("count", number, number).await, format!("{number}: {number}"));
    }
    assert!(ada.unacknowledged() < 64, "the server acknowledges");
    // Messages that it has were forgotten, and it lacks none.
    ada.cut();
    away(&server, 1).await;
    assert!(ada.come_back().await);
    // It lacks all that follow.
    for number in 0..20 {
        harbor.sailor().send(&Line(number)).expect("room in the outbox");
        until("an empty outbox", async || (harbor.sailor().queued().pushes == 0).then_some(())).await;
    }
    ada.cut();
    away(&server, 1).await;
    assert!(!ada.come_back().await);
    drop(ada);
    server.stop().await;
}

#[tokio::test]
async fn a_kick_a_drain_and_a_newer_connection_end_a_session_that_waits() {
    for how in ["kick", "close", "newer", "drain"] {
        let harbor = Harbor::default();
        let mut server = TestServer::start(harbor.server()).await;
        let mut ada = ReturningClient::connect(server.address(), "ada").await;
        ada.cut();
        away(&server, 1).await;
        assert_eq!(harbor.notes(), ["open ada", "suspend ada"]);
        let kicked = Close::new(CloseCode::KICKED, "out");
        match how {
            "kick" => assert_eq!(server.hub().user("ada").kick(kicked), 1),
            "close" => harbor.sailor().close(kicked),
            "newer" => drop(ReturningClient::connect(server.address(), "ada").await),
            _ => server.shut_down(),
        }
        let notes = harbor.noted(1).await;
        let closed = match how {
            "newer" => "close (replaced by a newer connection) ada",
            "drain" => "close (draining) ada",
            _ => "close (closed by the server: 4501 \"out\") ada",
        };
        assert_eq!(notes[0], closed, "{how}");
        if how == "drain" {
            server.ended().await;
        } else {
            assert!(!ada.come_back().await, "{how}");
            drop(ada);
            server.stop().await;
        }
    }
}

#[tokio::test]
async fn a_player_who_is_away_is_never_shut_out_by_the_own_session() {
    let harbor = Harbor::default();
    let server = TestServer::start(harbor.server().duplicates(Duplicates::Refuse)).await;
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    // The session has its connection, so another one is refused.
    let mut second = ReturningClient::connect(server.address(), "bob").await;
    assert_eq!(second.ask("count", 1, 1).await, "1: 1");
    ada.cut();
    away(&server, 1).await;
    let mut newer = ReturningClient::connect(server.address(), "ada").await;
    assert_eq!(newer.ask("count", 2, 1).await, "1: 2");
    // The newer one has its connection.
    let path = ada.way_back();
    let mut refused =
        Upgrade::new(server.address()).path(path).with("Sec-WebSocket-Protocol", RESUME).open(server.address()).await;
    assert_eq!(refused.frame().await, "close 4503");
    assert_eq!(newer.ask("count", 3, 2).await, "2: 3");
    drop((newer, second, refused));
    server.stop().await;
}

#[tokio::test]
async fn what_waits_for_many_players_counts_once_for_the_node() {
    const PLAYERS: usize = 20;
    const LINES: usize = 500;
    let harbor = Harbor::default();
    let server = TestServer::start(harbor.server()).await;
    let mut clients = Vec::new();
    for number in 0..PLAYERS {
        let mut client = ReturningClient::connect(server.address(), &number.to_string()).await;
        assert_eq!(client.ask("join", "lobby", 1).await, "1: null");
        clients.push(client);
    }
    clients.iter_mut().for_each(ReturningClient::cut);
    away(&server, PLAYERS).await;
    let size = r#"..{"method":"line","message":100}"#.len();
    for _ in 0..LINES {
        server.hub().room("lobby").send(&Line(100)).expect("a room");
    }
    let queued: Vec<_> = harbor.sailors().iter().map(|sailor| sailor.queued().bytes).collect();
    assert_eq!(queued, [LINES * size; PLAYERS], "each outbox counts all of it");
    // Each player lacks the pushes of those who have joined, too.
    let counted = server.hub().queued_bytes();
    assert!((LINES * size..LINES * size + PLAYERS * 4096).contains(&counted), "{counted} bytes");
    // One has them all, and the others are gone: in the end nothing is left.
    assert!(clients[0].come_back().await);
    for number in 0..PLAYERS {
        server.hub().user(number.to_string()).kick(Close::new(CloseCode::KICKED, "out"));
    }
    drop(clients);
    server.emptied().await;
    until("nothing that is counted", async || (server.hub().queued_bytes() == 0).then_some(())).await;
    server.stop().await;
}

/// Returns the time that is this long after now, and the query for it.
fn expiry(after: Duration) -> (SystemTime, String) {
    let since = (SystemTime::now() + after).duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970");
    let millis = since.as_millis();
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(millis.try_into().expect("a few digits"));
    (at, format!("uid=ada&expires={millis}"))
}

#[tokio::test(start_paused = true)]
async fn a_session_expires_while_its_player_is_away() {
    let harbor = Harbor::default();
    let server = testing::serve(harbor.server());
    let (_, query) = expiry(Duration::from_secs(30));
    let ada = server.connect(format!("/ws?{query}")).resumable().await.expect("a connection");
    let away = ada.cut();
    assert_eq!(harbor.noted(3).await, ["open ada", "suspend ada", "close (session expired) ada"]);
    let (_, later) = expiry(Duration::from_secs(3600));
    let ada = server.connect(format!("/ws?{later}")).resume(away).await.expect("a connection");
    assert_eq!(ada.is_resumed(), Some(false));
}

#[tokio::test]
async fn who_resumes_with_a_newer_token_has_the_later_expiry() {
    const HOUR: Duration = Duration::from_secs(3600);
    let harbor = Harbor::default();
    let server = TestServer::start(harbor.server()).await;
    let (two_hours, query) = expiry(2 * HOUR);
    let mut ada = ReturningClient::connect_to(server.address(), &format!("/ws?{query}")).await;
    assert_eq!(harbor.sailor().expires(), Some(two_hours));
    for hours in [1, 3] {
        let (at, query) = expiry(hours * HOUR);
        ada.cut();
        ada.come_back_with(&format!("/ws?{query}"));
        assert!(ada.come_back().await);
        assert_eq!(harbor.sailor().expires(), Some(two_hours.max(at)), "{hours}");
    }
    assert_eq!(harbor.notes(), ["open ada", "suspend ada", "resume ada", "suspend ada", "resume ada"]);
    drop(ada);
    server.stop().await;
}
