//! Handlers that wait, panic or never end, and how the connection behaves meanwhile.

use std::time::Duration;

use kengine::{Server, push::SendError};
use kengine_tests::{Client, ClientFrame, Lobby, Move, RawClient, TestServer, Workshop, every_row, within};
use tokio_tungstenite::tungstenite::Message;

fn request(route: &str, id: u32) -> String {
    format!(r#"{{"method":"{route}","id":{id}}}"#)
}

#[tokio::test]
async fn while_a_handler_waits_only_requests_queue() {
    let workshop = Workshop::default();
    let server = TestServer::start(Server::new(workshop.clone())).await;
    let mut client = RawClient::connect(server.address()).await;
    client
        .send_frames([
            ClientFrame::text(request("wait", 1)),
            ClientFrame::text(Lobby::request(2, "x")),
            ClientFrame::ping("in the same segment"),
        ])
        .await;
    workshop.gate.arrived(1).await;
    assert_eq!(client.frame().await, "pong \"in the same segment\"");
    client.send_frames([ClientFrame::text("p"), ClientFrame::ping("later")]).await;
    assert_eq!(client.frame().await, "pong \"later\"");
    client.send_bytewise(ClientFrame::text(Lobby::request(3, "x")).bytes()).await;
    client.send_frames([ClientFrame::ping("in pieces")]).await;
    assert_eq!(client.frame().await, "pong \"in pieces\"");

    let guest = workshop.guest();
    for number in 0..3 {
        guest.send(&Move::new(number, 0)).expect("a connection that is open");
        assert_eq!(client.frame().await, Move::new(number, 0).text());
    }
    workshop.gate.open(1);
    let answers = ["1: \"done\"", &Lobby::answer(2, "x"), "q", &Lobby::answer(3, "x")];
    assert_eq!(client.frames(4).await, answers);
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn handlers_of_a_connection_run_one_after_another() {
    let workshop = Workshop::default();
    let server = TestServer::start(Server::new(workshop.clone())).await;
    let mut client = Client::connect(server.address()).await;
    let mut other = Client::connect(server.address()).await;
    for id in 1..=3 {
        client.send(request("wait", id)).await;
    }
    for id in 1..=3 {
        workshop.gate.arrived(1).await;
        // Other connections do not notice.
        assert_eq!(other.ask(Lobby::request(id, "x")).await, Lobby::answer(id, "x"));
        workshop.gate.open(1);
        assert_eq!(client.next().await, format!("{id}: \"done\""));
    }
    drop((client, other));
    server.stop().await;
}

#[tokio::test]
async fn a_panicking_handler_fails_alone() {
    let rows = [
        ("before it waits", r#""method":"panic","message":0"#),
        ("after it waited", r#""method":"panic","message":1"#),
        ("while its reply is written", r#""method":"panic_in_a_reply""#),
    ];
    let server = TestServer::start(Server::new(Workshop::default())).await;
    every_row(rows, async |call| {
        let request = |id| format!(r#"{{{call},"id":{id}}}"#);
        let mut client = Client::connect(server.address()).await;
        for id in 1..=3 {
            assert_eq!(client.answers_to(request(id)).await, [format!("{id}: error internal")]);
        }
        assert_eq!(client.answers_to(format!("{{{call}}}")).await, ["error internal"], "without an id");

        // The others in the same segment are answered.
        let mut client = RawClient::connect(server.address()).await;
        client
            .send_frames([
                ClientFrame::text(Lobby::request(1, "x")),
                ClientFrame::text(request(2)),
                ClientFrame::text(Lobby::request(3, "x")),
            ])
            .await;
        let answers = [&Lobby::answer(1, "x"), "2: error internal", &Lobby::answer(3, "x")];
        assert_eq!(client.frames(3).await, answers);
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn an_endless_handler_is_answered_with_timeout() {
    let workshop = Workshop::default();
    let server = Server::new(workshop.clone()).handler_timeout(Duration::from_millis(50));
    let server = TestServer::start(server).await;
    let mut client = Client::connect(server.address()).await;
    assert_eq!(client.answers_to(request("forever", 1)).await, ["1: error timeout"]);
    assert!(!workshop.watched.finished().await, "cancelled, not finished");
    assert_eq!(client.answers_to(r#"{"method":"forever"}"#).await, ["error timeout"]);
    assert_eq!(client.answers_to(Lobby::request(3, "x")).await, [Lobby::answer(3, "x")]);
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_handler_is_not_cancelled_when_its_player_leaves() {
    #[derive(Clone, Copy)]
    enum Leaves {
        Closes,
        StopsWriting,
        Drops,
        Resets,
        Breaks,
    }
    let rows = [
        ("with a close", Leaves::Closes),
        ("by closing its side of TCP", Leaves::StopsWriting),
        ("without a close frame", Leaves::Drops),
        ("with a reset", Leaves::Resets),
        ("with a breach of the protocol", Leaves::Breaks),
    ];
    every_row(rows, async |leaves| {
        let workshop = Workshop::default();
        let server = TestServer::start(Server::new(workshop.clone())).await;
        let mut client = RawClient::connect(server.address()).await;
        client.send_frames([ClientFrame::text(request("wait", 1))]).await;
        workshop.gate.arrived(1).await;
        let mut kept = None;
        match leaves {
            Leaves::Closes => {
                client.send_frames([ClientFrame::close(1000, "")]).await;
                kept = Some(client);
            }
            Leaves::StopsWriting => {
                client.stop_writing().await;
                kept = Some(client);
            }
            Leaves::Breaks => {
                client.send_frames([ClientFrame::text("x").unmasked()]).await;
                kept = Some(client);
            }
            Leaves::Drops => drop(client),
            Leaves::Resets => client.reset(),
        }
        // All runs on one thread: when these are answered, the server has long seen the end of the other client.
        let mut other = Client::connect(server.address()).await;
        for id in 0..20 {
            assert_eq!(other.ask(Lobby::request(id, "x")).await, Lobby::answer(id, "x"));
        }
        assert!(!workshop.watched.has_ended(), "cancelled");
        workshop.gate.open(1);
        assert!(workshop.watched.finished().await, "cancelled at the end");
        let last: &[&str] = match leaves {
            Leaves::Closes => &["1: \"done\"", "close 1000", "end of TCP"],
            Leaves::StopsWriting => &["1: \"done\"", "end of TCP"],
            Leaves::Breaks => &["1: \"done\"", "close 1002", "end of TCP"],
            Leaves::Drops | Leaves::Resets => &[],
        };
        if let Some(mut client) = kept {
            assert_eq!(client.transcript().await, last);
        }
        drop(other);
        server.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_of_another_task_keep_their_order() {
    let workshop = Workshop::default();
    let server = TestServer::start(Server::new(workshop.clone())).await;
    let mut client = Client::connect(server.address()).await;
    assert_eq!(client.ask("p").await, "q");
    let guest = workshop.guest();
    tokio::spawn(async move {
        for number in 0..100 {
            guest.send(&Move::new(number, 0)).expect("a connection that is open");
        }
    });
    for number in 0..100 {
        assert_eq!(client.next().await, Move::new(number, 0).text());
    }
    drop(client);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_refuses_pushes_after_its_end() {
    let workshop = Workshop::default();
    let server = TestServer::start(Server::new(workshop.clone())).await;
    let mut client = Client::connect(server.address()).await;
    workshop.gate.open(1);
    assert_eq!(client.ask(request("wait", 1)).await, "1: \"done\"");
    let guest = workshop.guest();
    client.close(1000).await;
    while client.next().await != "the end" {}
    within("the connection to be closed", async {
        while guest.send(&Move::new(0, 0)).is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(matches!(guest.send(&Move::new(0, 0)), Err(SendError::Closed)));
    server.stop().await;
}

#[tokio::test]
async fn a_waiting_handler_bounds_what_is_read_ahead() {
    const REQUESTS: usize = 20_000;
    let workshop = Workshop::default();
    let server = TestServer::start(Server::new(workshop.clone())).await;
    let mut client = RawClient::connect(server.address()).await;
    client.send_frames([ClientFrame::text(request("wait", 1))]).await;
    workshop.gate.arrived(1).await;
    // The requests exceed any look-ahead. The server reads the rest when the handler has returned.
    let greeting = "x".repeat(1000);
    let chat = |id| ClientFrame::text(Lobby::request(id, &greeting));
    let sent = client.send_while_taken(REQUESTS, chat).await;
    assert!(sent < REQUESTS, "20 MB were taken while a handler waited");
    workshop.gate.open(1);
    assert_eq!(client.frame().await, "1: \"done\"");
    for id in 0..sent {
        assert!(client.frame().await == Lobby::answer(id, &greeting), "request {id} of {sent}");
    }
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_message_may_be_sent_while_another_is_answered() {
    let workshop = Workshop::default();
    let server = TestServer::start(Server::new(workshop.clone())).await;
    let mut client = Client::connect(server.address()).await;
    client.send(request("wait", 1)).await;
    workshop.gate.arrived(1).await;
    client.send(Message::binary(Lobby::request(2, "x"))).await;
    client.send(Lobby::request(3, &"x".repeat(60_000))).await;
    client.send(Lobby::request(4, "x")).await;
    workshop.gate.open(1);
    assert_eq!(client.next().await, "1: \"done\"");
    assert_eq!(client.next().await, Lobby::answer(2, "x"));
    assert_eq!(client.next().await, Lobby::answer(3, &"x".repeat(60_000)));
    assert_eq!(client.next().await, Lobby::answer(4, "x"));
    drop(client);
    server.stop().await;
}
