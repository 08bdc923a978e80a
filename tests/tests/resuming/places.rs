//! What a session keeps while its player is away, and where it can be resumed.

use std::net::SocketAddr;

use kengine::cluster::Redis;
use kengine_tests::{Cutter, Harbor, Line, RedisServer, ReturningClient, TestGateway, TestServer, serve_router, until};
use tokio::net::TcpListener;

/// Waits until this many players are away.
async fn away(server: &TestServer, count: usize) {
    until(&format!("{count} who are away"), async || (server.hub().suspended() == count).then_some(())).await;
}

#[tokio::test]
async fn nobody_is_told_that_a_player_has_left_who_comes_back() {
    let harbor = Harbor::default();
    let server = TestServer::start(harbor.server()).await;
    let mut ada = ReturningClient::connect(server.address(), "ada").await;
    let mut bob = ReturningClient::connect(server.address(), "bob").await;
    assert_eq!(bob.ask("join", "lobby", 1).await, "1: null");
    assert_eq!(ada.ask("join", "lobby", 1).await, "1: null");
    assert!(bob.next().await.unwrap().contains("joined"));
    for round in 0..3 {
        ada.cut();
        away(&server, 1).await;
        assert_eq!(server.hub().room("lobby").members().await.len(), 2);
        server.hub().room("lobby").send(&Line(round)).expect("a room");
        bob.expect(&format!(r#"{{"method":"line","message":{round}}}"#)).await;
        assert!(ada.come_back().await);
        ada.expect(&format!(r#"{{"method":"line","message":{round}}}"#)).await;
    }
    // Whoever is really gone has left.
    ada.leave_socket().send_frames([kengine_tests::ClientFrame::close(1000, "")]).await;
    assert!(bob.next().await.unwrap().contains("left"));
    drop((ada, bob));
    server.stop().await;
}

#[tokio::test]
async fn a_client_comes_back_although_its_address_and_the_node_are_full() {
    let harbor = Harbor::default();
    for per_address in [true, false] {
        let server = harbor.server().limit_loopback();
        let server = if per_address { server.max_connections_per_address(1) } else { server.max_connections(1) };
        let server = TestServer::start(server).await;
        let mut ada = ReturningClient::connect(server.address(), "ada").await;
        for _ in 0..3 {
            ada.cut();
            away(&server, 1).await;
            assert!(ada.come_back().await);
        }
        // Also if the server has not noticed that the old socket is lost.
        let old = ada.leave_socket();
        assert!(ada.come_back().await);
        drop(old);
        until("one connection", async || (server.hub().connections() == 1).then_some(())).await;
        drop(ada);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_resumed_on_whichever_thread_its_new_socket_is_accepted() {
    let harbor = Harbor::default();
    let server = TestServer::start(harbor.server()).await;
    let mut sailors = Vec::new();
    for number in 0..8 {
        sailors.push(ReturningClient::connect(server.address(), &number.to_string()).await);
    }
    for round in 0..20_u64 {
        for (number, sailor) in (0_u64..).zip(&mut sailors) {
            match (round + number) % 3 {
                0 => sailor.cut(),
                1 => sailor.reset(),
                _ => drop(sailor.leave_socket()),
            }
            assert!(sailor.come_back().await);
            let id = round;
            assert_eq!(sailor.ask("count", id, id).await, format!("{id}: {id}"));
        }
    }
    drop(sailors);
    server.stop().await;
}

#[tokio::test]
async fn a_router_offers_it_too() {
    let harbor = Harbor::default();
    let service = harbor.server().into_service().expect("a valid configuration");
    let hub = service.hub();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it listens");
    let router = serve_router(listener, axum::Router::new().route_service("/ws", service.clone()));
    let mut ada = ReturningClient::connect(address, "ada").await;
    for id in 0..3 {
        ada.cut();
        until("a suspended session", async || (hub.suspended() == 1).then_some(())).await;
        ada.request("count", id, id).await;
        assert!(ada.come_back().await);
        assert_eq!(ada.answer(id).await, format!("{id}: {id}"));
    }
    drop(ada);
    service.drain().await;
    router.stop().await;
}

/// Plays through a proxy that cuts every connection after a random number of bytes, in the handshake and in its answer
/// too, while both sides send this many messages. Returns how often it was cut.
async fn play(harbor: &Harbor, address: SocketAddr, messages: u64) -> u32 {
    /// How many messages of each kind are on their way at most.
    const AHEAD: u64 = 8;
    let mut ada = ReturningClient::connect(address, "ada").await;
    let cutter = Cutter::start(address, 2500).await;
    ada.cut();
    ada.come_back_to(cutter.address());
    while ada.try_come_back().await.is_none() {}
    let (mut answered, mut lines, mut cuts) = (0, 0, 0);
    let (mut sent, mut pushed) = (0, 0);
    while answered < messages || lines < messages {
        if sent < messages && sent - answered < AHEAD {
            ada.request("count", sent, sent).await;
            sent += 1;
        }
        if pushed < messages && pushed - lines < AHEAD {
            harbor.sailor().send(&Line(pushed)).expect("room in the outbox");
            pushed += 1;
        }
        match ada.next().await {
            Ok(text) if text == format!("{answered}: {answered}") => answered += 1,
            Ok(text) => {
                assert_eq!(text, format!(r#"{{"method":"line","message":{lines}}}"#));
                lines += 1;
            }
            Err(_) => {
                cuts += 1;
                drop(ada.leave_socket());
                while ada.try_come_back().await.inspect(|resumed| assert!(resumed, "after {cuts} cuts")).is_none() {
                    cuts += 1;
                }
            }
        }
    }
    assert_eq!(harbor.handled(), (0..messages).collect::<Vec<_>>());
    assert_eq!(harbor.sailors().len(), 1);
    cuts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_however_tcp_is_cut() {
    let harbor = Harbor::default();
    let server = TestServer::start(harbor.server()).await;
    let cuts = play(&harbor, server.address(), 600).await;
    assert!(cuts > 20, "only {cuts} cuts");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_through_nginx() {
    let harbor = Harbor::default();
    let redis = RedisServer::start().await;
    let server = redis.serve(harbor.server().cluster(Redis::new(redis.url()))).await;
    redis.directory().await.lives(server.address(), true).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let cuts = play(&harbor, gateway.address(), 150).await;
    assert!(cuts > 5, "only {cuts} cuts");
    let log = gateway.accesses();
    assert!(!log.is_empty() && !log.contains("resume="), "a token is logged: {log}");
    server.stop().await;
}
