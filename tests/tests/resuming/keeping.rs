//! What a player keeps who is away, besides uid and rooms: seats, questions, and a place on the node. And which other
//! ways there are to be away: a client that is silent for too long, and one whose connection only seems to be open.

use std::time::Duration;

use kengine::{Close, CloseCode, cluster::Redis, push::AskError, room::JoinError};
use kengine_tests::{
    ClientFrame, Harbor, Line, RESUME, RedisServer, ReturningClient, TestGateway, TestServer, Upgrade, until,
};

/// Waits until this many players are away.
async fn away(server: &TestServer, count: usize) {
    until(&format!("{count} who are away"), async || (server.hub().suspended() == count).then_some(())).await;
}

#[tokio::test]
async fn a_player_who_is_away_keeps_a_seat() {
    let redis = RedisServer::start().await;
    let (harbor, other) = (Harbor::default(), Harbor::default());
    let server = redis.serve(harbor.server().cluster(Redis::new(redis.url()))).await;
    let there = redis.serve(other.server().cluster(Redis::new(redis.url()))).await;
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    let room = server.hub().rooms("duel").fill(2, &harbor.sailor()).await.expect("a seat").name().to_owned();
    let mut visitors = Vec::new();
    let mut take_seat = async |uid: &str, room: Option<&str>| {
        visitors.push(ReturningClient::connect(there.address(), uid).await);
        let (rooms, sailor) = (there.hub().rooms("duel"), other.sailor());
        let fill = rooms.fill(2, &sailor);
        let filled = match room {
            Some(room) => fill.in_room(room.to_owned()).await,
            None => fill.await,
        };
        filled.map(|room| room.name().to_owned())
    };
    ada.cut();
    away(&server, 1).await;
    // Hers is taken while she is away: only one seat of the room is free, also for players of another node.
    assert_eq!(take_seat("bob", None).await.expect("a seat"), room);
    assert_ne!(take_seat("carl", None).await.expect("a seat"), room);
    assert!(matches!(take_seat("dora", Some(&room)).await, Err(JoinError::Full { .. })));
    assert!(ada.come_back().await);
    assert_eq!(server.hub().room(&room).members().await.len(), 2);
    assert!(matches!(take_seat("eve", Some(&room)).await, Err(JoinError::Full { .. })));
    // When her session is over, the seat is free.
    ada.cut();
    away(&server, 1).await;
    assert!(matches!(take_seat("finn", Some(&room)).await, Err(JoinError::Full { .. })));
    server.hub().user("ada").kick(Close::new(CloseCode::KICKED, "out"));
    until("a free seat", async || take_seat("gina", Some(&room)).await.ok()).await;
    drop((ada, visitors));
    server.stop().await;
    there.stop().await;
}

#[tokio::test]
async fn the_seat_of_a_player_who_does_not_come_back_in_time_is_free() {
    let redis = RedisServer::start().await;
    let (harbor, other) = (Harbor::default(), Harbor::default());
    let soon = Duration::from_millis(300);
    let server = redis.serve(harbor.server().resume_within(soon).cluster(Redis::new(redis.url()))).await;
    let there = redis.serve(other.server().cluster(Redis::new(redis.url()))).await;
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    let bob = ReturningClient::connect(there.address(), "bob").await;
    let room = server.hub().rooms("solo").fill(1, &harbor.sailor()).await.expect("a seat").name().to_owned();
    let (rooms, sailor) = (there.hub().rooms("solo"), other.sailor());
    let take_seat = async || rooms.fill(1, &sailor).in_room(room.clone()).await.map(|_| ());
    assert!(matches!(take_seat().await, Err(JoinError::Full { .. })));
    ada.cut();
    until("a free seat", async || take_seat().await.ok()).await;
    drop((ada, bob));
    server.stop().await;
    there.stop().await;
}

#[tokio::test]
async fn a_question_waits_for_its_player() {
    let harbor = Harbor::default();
    let server = TestServer::start(harbor.server()).await;
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    let sailor = harbor.sailor();
    let question = |id: u32, line: u64| format!(r#"{{"id":{id},"method":"line","message":{line}}}"#);
    for round in 0..3_u32 {
        // One is asked before the cut and not received, and one while she is away.
        let (early, late) = (Line(1), Line(2));
        let before = async { sailor.ask::<u64>(&early).await };
        let during = async {
            away(&server, 1).await;
            sailor.ask::<u64>(&late).await
        };
        let ada = &mut ada;
        let player = async {
            until("a question", async || (sailor.queued().pushes == 0).then_some(())).await;
            ada.cut();
            away(&server, 1).await;
            until("another question", async || (sailor.queued().pushes == 1).then_some(())).await;
            assert!(ada.come_back().await);
            let (first, second) = (2 * round + 1, 2 * round + 2);
            ada.expect(&question(first, 1)).await;
            ada.expect(&question(second, 2)).await;
            // An answer that has come only in part is sent again.
            ada.send(format!(r#"{{"id":{second},"result":20}}"#)).await;
            ada.send_start(format!(r#"{{"id":{first},"result":10}}"#), |length| length / 2).await;
            ada.cut();
            assert!(ada.come_back().await);
        };
        let (before, during, ()) = tokio::join!(before, during, player);
        assert_eq!((before.unwrap(), during.unwrap()), (10, 20));
    }
    drop(ada);
    server.stop().await;
}

#[tokio::test]
async fn a_handler_waits_for_the_answer_of_its_player_who_is_away() {
    let harbor = Harbor::default();
    let server = TestServer::start(harbor.server()).await;
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    ada.request("ask_back", (), 7).await;
    ada.expect(r#"{"id":1,"method":"line","message":0}"#).await;
    ada.request("count", 5, 8).await;
    ada.cut();
    away(&server, 1).await;
    ada.send(r#"{"id":1,"result":33}"#).await;
    assert!(ada.come_back().await);
    ada.expect("7: 33").await;
    ada.expect("8: 5").await;
    // The question of a session that is over has no answer.
    let sailor = harbor.sailor();
    let asked = async { sailor.ask::<u64>(&Line(1)).await };
    let ended = async {
        ada.cut();
        away(&server, 1).await;
        server.hub().user("ada").kick(Close::new(CloseCode::KICKED, "out"));
    };
    let (asked, ()) = tokio::join!(asked, ended);
    assert!(matches!(asked, Err(AskError::Closed | AskError::Send(_))), "{asked:?}");
    drop(ada);
    server.stop().await;
}

#[tokio::test]
async fn a_player_who_is_away_counts_apart_and_keeps_a_place() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let harbor = Harbor::default();
    let server = harbor.server().max_connections(2).cluster(Redis::new(redis.url()));
    let server = redis.serve(server).await;
    let counts = |server: &TestServer| (server.hub().connections(), server.hub().suspended());
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    let bob = ReturningClient::connect(server.address(), "bob").await;
    assert_eq!(counts(&server), (2, 0));
    for round in 0..2 {
        ada.cut();
        away(&server, 1).await;
        assert_eq!(counts(&server), (2, 1));
        // She is a part of the load that gateways see, and nobody gets her place.
        if round == 0 {
            directory.heard_of(server.address(), 1).await;
        }
        assert_eq!(directory.count(server.address()).await, Some(2));
        assert_eq!(directory.load(server.address()).await, Some(2));
        assert_eq!(directory.user("ada").await, Some(server.address().to_string()));
        let upgrade = Upgrade::new(server.address()).path("/ws?uid=carl").with("Sec-WebSocket-Protocol", RESUME);
        assert_eq!(upgrade.open(server.address()).await.frame().await, "close 4004");
        assert!(ada.come_back().await);
        assert_eq!(counts(&server), (2, 0));
    }
    ada.cut();
    away(&server, 1).await;
    // It is free when her session is over.
    server.hub().user("ada").kick(Close::new(CloseCode::KICKED, "out"));
    directory.count_is(server.address(), Some(1)).await;
    directory.user_is("ada", None).await;
    until("one connection", async || (counts(&server) == (1, 0)).then_some(())).await;
    let carl = ReturningClient::connect(server.address(), "carl").await;
    drop((ada, bob, carl));
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_is_silent_for_too_long_comes_back() {
    /// So long that a busy machine is not silent for it.
    const IDLE_TIME: Duration = Duration::from_secs(3);
    let harbor = Harbor::default();
    let server = TestServer::start(harbor.server().idle_timeout(IDLE_TIME)).await;
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    for (round, reads) in (0_u64..).zip([true, false]) {
        assert_eq!(ada.ask("count", round, round).await, format!("{round}: {round}"));
        assert!(harbor.noted(1).await[0].starts_with(if round == 0 { "open" } else { "resume" }));
        // It sends nothing and answers no ping.
        away(&server, 1).await;
        assert_eq!(harbor.noted(1).await, ["suspend ada"]);
        harbor.sailor().send(&Line(round)).expect("room in the outbox");
        let mut old = ada.leave_socket();
        if reads {
            let mut frame = old.frame().await;
            while frame.starts_with("ping") {
                frame = old.frame().await;
            }
            assert_eq!(frame, "close 4001");
            old.answer_close(4001).await;
        }
        assert!(ada.come_back().await);
        ada.expect(&format!(r#"{{"method":"line","message":{round}}}"#)).await;
        // A client that hangs does not keep its old socket for long.
        drop(old);
    }
    assert_eq!(harbor.handled(), [0, 1]);
    drop(ada);
    server.stop().await;
}

#[tokio::test]
async fn a_half_dead_connection_is_taken_over_at_once_through_the_gateway() {
    let redis = RedisServer::start().await;
    let harbors = [(); 2].map(|()| Harbor::default());
    let mut servers = Vec::new();
    for harbor in &harbors {
        servers.push(redis.serve(harbor.server().cluster(Redis::new(redis.url()))).await);
    }
    let gateway = TestGateway::start(&redis.url()).await;
    redis.nodes_are_read().await;
    let mut players = Vec::new();
    for uid in ["ada", "bob", "carl", "dora"] {
        players.push(ReturningClient::connect(gateway.address(), uid).await);
    }
    let mut old = Vec::new();
    for round in 0..3_u64 {
        for (player, uid) in players.iter_mut().zip(["ada", "bob", "carl", "dora"]) {
            assert_eq!(player.ask("count", round, round).await, format!("{round}: {round}"), "{uid}");
            // The old socket stays open, and reads and answers nothing.
            old.push(player.leave_socket());
            player.request("count", 100 + round, 100 + round).await;
            assert!(player.come_back().await, "{uid}");
            assert_eq!(player.answer(100 + round).await, format!("{0}: {0}", 100 + round), "{uid}");
        }
    }
    for harbor in &harbors {
        assert!(harbor.sailors().len() == 2, "the gateway has spread the players, and no other session has begun");
    }
    // The old tunnels end although nobody answers the close frame.
    for socket in &mut old {
        assert_eq!(socket.frame().await, "close 4500");
    }
    let connections = || servers.iter().map(|server| server.hub().connections()).collect::<Vec<_>>();
    until("the ends of the old connections", async || (connections() == [2, 2]).then_some(())).await;
    gateway.sent_to(old.len()).await;
    for player in &mut players {
        player.socket().send_frames([ClientFrame::close(1000, "")]).await;
        player.expect("close 1000").await;
    }
    drop((players, old));
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test]
async fn a_half_dead_connection_is_taken_over_at_once_while_a_handler_runs() {
    let harbor = Harbor::default();
    let server = TestServer::start(harbor.server()).await;
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    ada.request("wait", (), 1).await;
    ada.request("count", 2, 2).await;
    harbor.gate.arrived(1).await;
    let mut old = Vec::new();
    for round in 0..3 {
        old.push(ada.leave_socket());
        assert!(ada.come_back().await);
        harbor.sailor().send(&Line(round)).expect("room in the outbox");
        ada.expect(&format!(r#"{{"method":"line","message":{round}}}"#)).await;
    }
    assert!(harbor.handled().is_empty(), "the handler still runs");
    harbor.gate.open(1);
    ada.expect("1: \"done\"").await;
    ada.expect("2: 2").await;
    assert_eq!(harbor.handled(), [2]);
    drop((ada, old));
    server.stop().await;
}

#[tokio::test]
async fn a_half_dead_connection_is_taken_over_at_once_while_its_socket_is_blocked() {
    /// More than the kernel keeps for a client that does not read.
    const REQUESTS: u64 = 100;
    const LETTERS: usize = 200_000;
    let harbor = Harbor::default();
    let server = TestServer::start(harbor.server().max_outbox_size(64 << 20)).await;
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    for id in 0..REQUESTS {
        ada.request("letters", LETTERS, id).await;
    }
    // The server stops when nobody reads what it writes.
    let mut before = 0;
    until("a blocked socket", async || {
        let now = server.hub().queued_bytes();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let is_blocked = now > 0 && now == std::mem::replace(&mut before, now);
        is_blocked.then_some(())
    })
    .await;
    let old = ada.leave_socket();
    assert!(ada.come_back().await);
    for id in 0..REQUESTS {
        let answer = ada.answer(id).await;
        assert_eq!(answer.len(), format!("{id}: \"\"").len() + LETTERS, "answer {id}");
    }
    assert_eq!(ada.ask("count", 7, REQUESTS).await, format!("{REQUESTS}: 7"));
    drop((ada, old));
    server.stop().await;
}
