//! The close handshake, started by either side (RFC 6455, section 7), and clients that vanish.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use kengine::{Close, CloseCode, Connection, Server, push::SendError};
use kengine_tests::{Chat, Client, ClientFrame, End, Gate, Lobby, RawClient, TestServer, every_row, segment};

#[tokio::test]
async fn a_close_is_answered_with_its_own_code() {
    let close = |code| (ClientFrame::close(code, ""), format!("close {code}"));
    let rows = [
        ("1000", close(1000)),
        ("1001", close(1001)),
        ("1003", close(1003)),
        ("1007", close(1007)),
        ("1011", close(1011)),
        ("1014", close(1014)),
        ("3000", close(3000)),
        ("4321", close(4321)),
        ("4999", close(4999)),
        ("with a reason", (ClientFrame::close(1000, "né 🎲"), "close 1000".to_owned())),
        ("with the longest reason", (ClientFrame::close(4321, [b'x'; 123]), "close 4321".to_owned())),
        ("without a code", (ClientFrame::empty_close(), "close".to_owned())),
    ];
    let server = TestServer::start(Server::new(Lobby)).await;
    every_row(rows, async |(close, expected)| {
        let mut client = RawClient::connect(server.address()).await;
        client.send_frames([close.clone()]).await;
        assert_eq!(client.transcript().await, [&expected, "end of TCP"], "alone");

        let mut client = RawClient::connect(server.address()).await;
        let chat = |id| ClientFrame::text(Lobby::request(id, "x"));
        client.send_frames([chat(1), chat(2), close, chat(3)]).await;
        let answers = [Lobby::answer(1, "x"), Lobby::answer(2, "x"), expected, "end of TCP".to_owned()];
        assert_eq!(client.transcript().await, answers, "after two requests and before another");
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_close_inside_a_fragmented_message_is_answered() {
    let server = TestServer::start(Server::new(Lobby)).await;
    let mut client = RawClient::connect(server.address()).await;
    client.send_frames([ClientFrame::text("{").unfinished(), ClientFrame::close(1001, "")]).await;
    assert_eq!(client.transcript().await, ["close 1001", "end of TCP"]);
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_client_of_another_library_closes_and_is_closed() {
    let server = TestServer::start(Server::new(Lobby)).await;
    let mut client = Client::connect(server.address()).await;
    client.close(4321).await;
    assert_eq!(client.next().await, "close 4321");
    assert_eq!(client.next().await, "the end");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_stops_writing_still_gets_its_answers() {
    let server = TestServer::start(Server::new(Lobby)).await;
    let mut client = RawClient::connect(server.address()).await;
    client.send_frames((1..=3).map(|id| ClientFrame::text(Lobby::request(id, "x")))).await;
    client.stop_writing().await;
    let answers = [1, 2, 3].map(|id| Lobby::answer(id, "x"));
    assert_eq!(client.transcript().await, [&answers[..], &["end of TCP".to_owned()]].concat());
    drop(client);
    server.stop().await;
}

/// Closes the connection in each way that a handler can.
#[derive(Clone, Default)]
struct Bouncer {
    chats: Arc<AtomicU32>,
    gate: Gate,
    guest: Arc<Mutex<Option<Connection>>>,
}

impl Bouncer {
    fn close() -> Close {
        Close::new(CloseCode::new(4510).expect("a code for applications"), "that is enough")
    }
}

#[kengine::dispatcher]
impl Bouncer {
    #[route("chat")]
    async fn chat(&self, chat: Chat) -> String {
        self.chats.fetch_add(1, Ordering::SeqCst);
        chat.answer()
    }

    /// Closes and returns at once.
    #[route]
    async fn leave(&self, connection: &Connection) -> &'static str {
        connection.close(Self::close());
        "bye"
    }

    #[route]
    async fn leave_twice(&self, connection: &Connection) {
        connection.close(Self::close());
        connection.close(Close::new(CloseCode::KICKED, "and stay away"));
    }

    #[route]
    async fn leave_with_a_long_reason(&self, connection: &Connection) {
        connection.close(Close::new(CloseCode::KICKED, "é".repeat(100)));
    }

    /// Closes, then waits until the test opens the gate.
    #[route]
    async fn leave_and_wait(&self, connection: &Connection) {
        connection.close(Self::close());
        self.gate.pass().await;
    }

    /// Waits until the test opens the gate, then closes.
    #[route]
    async fn wait_and_leave(&self, connection: &Connection) -> &'static str {
        self.gate.pass().await;
        connection.close(Self::close());
        "bye"
    }

    /// Keeps the connection for the test.
    #[route]
    async fn seat(&self, connection: &Connection) {
        *self.guest.lock().expect("no panic") = Some(connection.clone());
    }
}

#[tokio::test]
async fn requests_after_a_handler_closed_are_not_handled() {
    let rows = [("at once", ("leave", false)), ("after a wait", ("wait_and_leave", true))];
    every_row(rows, async |(route, waits)| {
        let bouncer = Bouncer::default();
        let server = TestServer::start(Server::new(bouncer.clone())).await;
        let mut client = RawClient::connect(server.address()).await;
        let leave = ClientFrame::text(format!(r#"{{"method":"{route}","id":2}}"#));
        let chat = |id| ClientFrame::text(Lobby::request(id, "x"));
        client.send_frames([chat(1), leave, chat(3), chat(4), ClientFrame::text("p")]).await;
        assert_eq!(client.frame().await, Lobby::answer(1, "x"));
        if waits {
            bouncer.gate.arrived(1).await;
            bouncer.gate.open(1);
        }
        assert_eq!(client.frame().await, "2: \"bye\"");
        let close = client.next().await.expect("a close frame");
        assert_eq!(close.close(), Some((4510, "that is enough")));
        client.answer_close(4510).await;
        assert_eq!(bouncer.chats.load(Ordering::SeqCst), 1, "handled after the close");
        drop(client);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_handler_that_waits_does_not_delay_its_close() {
    let bouncer = Bouncer::default();
    let server = TestServer::start(Server::new(bouncer.clone())).await;
    let mut client = RawClient::connect(server.address()).await;
    let leave = ClientFrame::text(r#"{"method":"leave_and_wait"}"#);
    client.send_frames([leave, ClientFrame::text(Lobby::request(3, "x"))]).await;
    assert_eq!(client.frame().await, "close 4510");
    client.send_frames([ClientFrame::close(4510, "")]).await;
    bouncer.gate.arrived(1).await;
    bouncer.gate.open(1);
    assert_eq!(client.transcript().await, ["end of TCP"]);
    assert_eq!(bouncer.chats.load(Ordering::SeqCst), 0, "handled after the close");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn the_first_close_stands_and_a_long_reason_is_cut() {
    let bouncer = Bouncer::default();
    let server = TestServer::start(Server::new(bouncer.clone())).await;
    let rows = [
        ("twice", (r#"{"method":"leave_twice"}"#, (4510, "that is enough".to_owned()))),
        ("a reason of 200 bytes", (r#"{"method":"leave_with_a_long_reason"}"#, (4501, "é".repeat(61)))),
    ];
    every_row(rows, async |(request, expected)| {
        let mut client = RawClient::connect(server.address()).await;
        client.send_frames([ClientFrame::text(request)]).await;
        let close = client.next().await.expect("a close frame");
        assert_eq!(close.close().map(|(code, reason)| (code, reason.to_owned())), Some(expected));
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn another_task_may_close_an_idle_connection() {
    let bouncer = Bouncer::default();
    let server = TestServer::start(Server::new(bouncer.clone())).await;
    let mut client = RawClient::connect(server.address()).await;
    client.send_frames([ClientFrame::text(r#"{"method":"seat","id":1}"#)]).await;
    assert_eq!(client.frame().await, "1: null");
    let guest = bouncer.guest.lock().expect("no panic").take().expect("a guest");

    tokio::spawn(async move {
        guest.close(Bouncer::close());
        assert!(matches!(guest.send(&Note { text: "too late" }), Err(SendError::Closed)));
    })
    .await
    .expect("a send that is refused");
    let close = client.next().await.expect("a close frame");
    assert_eq!(close.close(), Some((4510, "that is enough")));
    // Requests that the client sent before it got the close frame are dropped and not answered.
    let chat = |id| ClientFrame::text(Lobby::request(id, "x"));
    client.send_frames([chat(1), ClientFrame::ping("x"), chat(2)]).await;
    client.answer_close(4510).await;
    assert_eq!(bouncer.chats.load(Ordering::SeqCst), 0, "handled after the close");
    drop(client);
    server.stop().await;
}

#[derive(serde::Serialize)]
struct Note {
    text: &'static str,
}

impl kengine::Push for Note {
    const NAME: &'static str = "note";
}

#[tokio::test]
async fn a_client_that_ignores_a_close_is_cut_off() {
    let server = Server::new(Bouncer::default()).close_timeout(Duration::from_secs(1));
    let server = TestServer::start(server).await;
    let rows = [("silent", false), ("talkative", true)];
    every_row(rows, async |talkative| {
        let mut client = RawClient::connect(server.address()).await;
        client.send_frames([ClientFrame::text(r#"{"method":"leave"}"#)]).await;
        assert_eq!(client.frames(2).await, [r#""bye""#, "close 4510"]);
        if talkative {
            // On a slow machine, the server may have cut the connection off already.
            client.try_send(segment((0..100).map(|id| ClientFrame::text(Lobby::request(id, "x"))))).await;
        }
        let end = client.next().await.expect_err("nothing but the end");
        assert!(matches!(end, End::Closed | End::Reset));
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_vanishes_frees_its_place() {
    #[derive(Clone, Copy, Debug)]
    enum Leaves {
        Closes,
        Drops,
        Resets,
    }
    let rows =
        [("with a close", Leaves::Closes), ("without a close frame", Leaves::Drops), ("with a reset", Leaves::Resets)];
    every_row(rows, async |leaves| {
        let server = TestServer::start(Server::new(Lobby).max_connections(1)).await;
        let mut client = RawClient::connect(server.address()).await;
        client.heartbeat().await;
        match leaves {
            Leaves::Closes => {
                client.send_frames([ClientFrame::close(1000, "")]).await;
                assert_eq!(client.transcript().await, ["close 1000", "end of TCP"]);
            }
            Leaves::Drops => drop(client),
            Leaves::Resets => client.reset(),
        }
        server.has_room().await;
        server.stop().await;
    })
    .await;
}

/// The server does not wait for a second close frame of a client that has sent one already: here the close timeout
/// never ends.
#[tokio::test]
async fn an_earlier_close_of_the_client_answers_ours() {
    let rows = [
        ("after a handler that closes and returns at once", ("leave", false)),
        ("while a handler waits and closes later", ("wait_and_leave", true)),
        ("while a handler waits that has closed before", ("leave_and_wait", true)),
    ];
    every_row(rows, async |(route, waits)| {
        let bouncer = Bouncer::default();
        let server = Server::new(bouncer.clone()).close_timeout(Duration::MAX);
        let server = TestServer::start(server).await;
        let mut client = RawClient::connect(server.address()).await;
        let leave = ClientFrame::text(format!(r#"{{"method":"{route}"}}"#));
        client.send_frames([leave, ClientFrame::ping("read?"), ClientFrame::close(1000, "")]).await;
        if waits {
            bouncer.gate.arrived(1).await;
            bouncer.gate.open(1);
        }
        let transcript = client.transcript().await;
        assert_eq!(transcript.last().map(String::as_str), Some("end of TCP"), "{transcript:?}");
        assert_eq!(transcript[transcript.len() - 2], "close 4510", "{transcript:?}");
        server.stop().await;
    })
    .await;
}
