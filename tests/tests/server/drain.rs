//! The drain: requests that were read are answered, every client is closed with 4000, and the server ends.

use std::{future::pending, time::Duration};

use kengine::Server;
use kengine_tests::{
    Client, ClientFrame, Doorkeeper, End, HttpClient, Lobby, Move, RawClient, TestServer, Upgrade, Workshop, every_row,
    within,
};

fn request(route: &str, id: u32) -> ClientFrame {
    ClientFrame::text(format!(r#"{{"method":"{route}","id":{id}}}"#))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_answers_what_was_read_then_closes_with_4000() {
    const CLIENTS: u32 = 50;
    let workshop = Workshop::default();
    let mut server = TestServer::start(Server::new(workshop.clone())).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = RawClient::connect(server.address()).await;
        let chats = (2..10).map(|id| ClientFrame::text(Lobby::request(id, "x")));
        client.send_frames([request("wait", 1)].into_iter().chain(chats).chain([request("wait", 10)])).await;
        // The pong proves that all of them were read.
        client.send_frames([ClientFrame::ping("read?")]).await;
        assert_eq!(client.frame().await, "pong \"read?\"");
        clients.push(client);
    }
    let mut idle = RawClient::connect(server.address()).await;
    idle.heartbeat().await;
    workshop.gate.arrived(CLIENTS).await;

    server.shut_down();
    server.drains().await;
    let close = idle.next().await.expect("a close frame");
    assert_eq!(close.close(), Some((4000, "draining")));
    idle.answer_close(4000).await;

    let upgrade = Upgrade::new(server.address());
    let refused = upgrade.ask(server.address()).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "unavailable"));
    assert!(refused.field("retry-after").is_some());
    let not_ready = upgrade.clone().path("/readyz").ask(server.address()).await;
    assert_eq!((not_ready.status, not_ready.error_code().as_str()), (503, "unavailable"));
    assert_eq!(upgrade.path("/healthz").ask(server.address()).await.status, 200, "a draining server is healthy");

    workshop.gate.open(2 * CLIENTS as usize);
    let answers = |id| if matches!(id, 1 | 10) { format!("{id}: \"done\"") } else { Lobby::answer(id, "x") };
    let expected: Vec<_> = (1..=10).map(answers).chain(["close 4000".to_owned()]).collect();
    for client in &mut clients {
        assert_eq!(client.frames(11).await, expected);
        client.answer_close(4000).await;
    }
    server.ended().await;
}

#[tokio::test]
async fn a_drain_closes_clients_of_another_library_with_4000() {
    let mut server = TestServer::start(Server::new(Lobby)).await;
    let mut clients = Vec::new();
    for id in 0..10 {
        let mut client = Client::connect(server.address()).await;
        assert_eq!(client.ask(Lobby::request(id, "x")).await, Lobby::answer(id, "x"));
        clients.push(client);
    }
    server.shut_down();
    for client in &mut clients {
        assert_eq!(client.next().await, "close 4000");
        assert_eq!(client.next().await, "the end");
    }
    server.ended().await;
}

#[tokio::test]
async fn a_slow_reader_gets_every_answer_before_the_close() {
    const REQUESTS: usize = 30_000;
    let mut server = TestServer::start(Server::new(Lobby)).await;
    let mut client = RawClient::connect(server.address()).await;
    let greeting = "x".repeat(1000);
    let chat = |id| ClientFrame::text(Lobby::request(id, &greeting));
    let sent = client.send_while_taken(REQUESTS, chat).await;
    server.shut_down();
    server.drains().await;
    let mut answered = 0;
    loop {
        let frame = client.frame().await;
        if frame == "close 4000" {
            break;
        }
        assert!(frame == Lobby::answer(answered, &greeting), "request {answered} of {sent}: {frame:.100}");
        answered += 1;
    }
    assert!((1..sent).contains(&answered), "{answered} of {sent}");
    client.answer_close(4000).await;
    server.ended().await;
}

#[tokio::test]
async fn a_drain_does_not_wait_for_half_a_message() {
    let mut server = TestServer::start(Server::new(Lobby)).await;
    let mut client = RawClient::connect(server.address()).await;
    let half = ClientFrame::text("half a message").announcing(100).bytes();
    client.send([&ClientFrame::text(Lobby::request(1, "x")).bytes(), &half[..]].concat()).await;
    assert_eq!(client.frame().await, Lobby::answer(1, "x"));
    server.shut_down();
    assert_eq!(client.frame().await, "close 4000");
    drop(client);
    server.ended().await;
}

#[tokio::test]
async fn a_drain_cancels_an_endless_handler_at_its_deadline() {
    let workshop = Workshop::default();
    let server = Server::new(workshop.clone()).drain_timeout(Duration::from_millis(100));
    let mut server = TestServer::start(server).await;
    let mut client = RawClient::connect(server.address()).await;
    client.send_frames([request("forever", 1), ClientFrame::ping("read?")]).await;
    assert_eq!(client.frame().await, "pong \"read?\"");
    server.shut_down();
    server.ended().await;
    assert!(!workshop.watched.finished().await, "the handler ran to its end");
    assert!(matches!(client.next().await, Err(End::Closed | End::Reset)));
}

#[tokio::test]
async fn a_client_that_ignores_the_close_does_not_delay_the_drain() {
    let rows = [
        ("the close timeout", (Duration::from_millis(100), Duration::from_secs(600))),
        ("the drain timeout", (Duration::from_secs(600), Duration::from_millis(100))),
    ];
    every_row(rows, async |(close_timeout, drain_timeout)| {
        let server = Server::new(Lobby).close_timeout(close_timeout).drain_timeout(drain_timeout);
        let mut server = TestServer::start(server).await;
        let mut client = RawClient::connect(server.address()).await;
        client.heartbeat().await;
        server.shut_down();
        server.ended().await;
        assert_eq!(client.frame().await, "close 4000");
        assert!(matches!(client.next().await, Err(End::Closed | End::Reset)));
    })
    .await;
}

#[tokio::test]
async fn a_server_without_clients_ends_at_once() {
    TestServer::start(Server::new(Lobby)).await.stop().await;
}

#[tokio::test]
async fn a_server_stopped_before_it_serves_ends_too() {
    let bound = Server::new(Lobby).bind("127.0.0.1:0").await.expect("a free port");
    within("the end", bound.serve_until(async {})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_comes_as_the_drain_begins_gets_an_answer() {
    for _ in 0..20 {
        let mut server = TestServer::start(Server::new(Lobby)).await;
        let address = server.address();
        let connecting: Vec<_> = (0..8)
            .map(|_| {
                tokio::spawn(async move {
                    let mut http = match tokio::net::TcpStream::connect(address).await {
                        Ok(stream) => HttpClient::over(stream),
                        // The server had ended already.
                        Err(_) => return,
                    };
                    let Some(response) = http.try_request(&Upgrade::new(address).bytes()).await else {
                        return;
                    };
                    match response.status {
                        101 => {
                            let mut client = http.into_websocket();
                            assert_eq!(client.frame().await, "close 4000");
                            client.answer_close(4000).await;
                        }
                        other => assert_eq!(other, 503),
                    }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        server.shut_down();
        for client in connecting {
            within("a client", client).await.expect("served or refused");
        }
        server.ended().await;
    }
}

#[tokio::test]
async fn a_client_not_accepted_before_the_drain_is_refused() {
    let door = Doorkeeper::default();
    let mut server = TestServer::start(Server::new(door.clone())).await;
    let mut http = HttpClient::connect(server.address()).await;
    http.send(&Upgrade::new(server.address()).bytes()).await;
    door.gate.arrived(1).await;
    server.shut_down();
    server.drains().await;
    door.gate.open(1);
    let refused = http.response(false).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "unavailable"));
    server.ended().await;
}

#[tokio::test]
async fn an_endless_accept_does_not_outlast_the_drain() {
    let door = Doorkeeper::default();
    let server = Server::new(door.clone()).handshake_timeout(Duration::MAX);
    let mut server = TestServer::start(server.drain_timeout(Duration::from_millis(100))).await;
    let mut http = HttpClient::connect(server.address()).await;
    http.send(&Upgrade::new(server.address()).bytes()).await;
    door.gate.arrived(1).await;
    server.shut_down();
    server.ended().await;
}

#[tokio::test]
async fn a_handler_may_push_while_the_node_drains() {
    let workshop = Workshop::default();
    let mut server = TestServer::start(Server::new(workshop.clone())).await;
    let mut client = RawClient::connect(server.address()).await;
    client.send_frames([request("push_later", 1)]).await;
    workshop.gate.arrived(1).await;
    server.shut_down();
    server.drains().await;
    workshop.gate.open(1);
    let mut frames = client.frames(2).await;
    frames.sort();
    assert_eq!(frames, ["1: null", &*Move::new(0, 0).text()]);
    assert_eq!(client.frame().await, "close 4000");
    client.answer_close(4000).await;
    server.ended().await;
}

#[tokio::test]
async fn dropping_a_server_ends_its_connections() {
    let bound = Server::new(Lobby).bind("127.0.0.1:0").await.expect("a free port");
    let address = bound.local_addr();
    let serving = tokio::spawn(bound.serve_until(pending()));
    let mut client = RawClient::connect(address).await;
    client.heartbeat().await;
    serving.abort();
    assert!(client.next().await.is_err(), "the connection is still served");
}

#[tokio::test]
async fn every_timeout_may_be_the_longest_duration() {
    let server = Server::new(Lobby).handshake_timeout(Duration::MAX).close_timeout(Duration::MAX);
    let server = server.idle_timeout(Duration::MAX).handler_timeout(Duration::MAX).drain_timeout(Duration::MAX);
    let mut server = TestServer::start(server).await;
    let mut client = RawClient::connect(server.address()).await;
    client.heartbeat().await;
    server.shut_down();
    assert_eq!(client.frame().await, "close 4000");
    client.answer_close(4000).await;
    server.ended().await;
}
