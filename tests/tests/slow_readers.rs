//! Members of rooms that do not read: what waits for them is bounded, whatever else happens.

use std::sync::{Arc, Mutex, mpsc};

use kengine::{Close, CloseCode, Connection, Push, SendError, Server};
use kengine_tests::{ClientFrame, Gate, LIMIT, RawClient, TestServer, Upgrade, within};
use serde::Serialize;

/// So many bytes and a number.
#[derive(Serialize, Push)]
struct Move {
    number: usize,
    ballast: String,
}

impl Move {
    fn new(number: usize, bytes: usize) -> Self {
        Self { number, ballast: "x".repeat(bytes) }
    }
}

/// Leaves its connections to the test.
#[derive(Clone, Default)]
struct Arena {
    guests: Arc<Mutex<Vec<Connection>>>,
    gate: Gate,
}

impl Arena {
    /// Connects a client and tells the connection that it has.
    async fn guest(&self, server: &TestServer) -> (RawClient, Connection) {
        let mut client = RawClient::connect(server.address()).await;
        client.send_frames([ClientFrame::text(r#"{"method":"seat","id":1}"#)]).await;
        assert_eq!(client.frame().await, "1: null");
        (client, self.guests.lock().unwrap().pop().expect("a guest"))
    }
}

#[kengine::dispatcher]
impl Arena {
    #[route]
    async fn seat(&self, connection: &Connection) {
        self.guests.lock().unwrap().push(connection.clone());
    }

    #[route]
    async fn wait(&self) {
        self.gate.pass().await;
    }
}

/// What waits for a client that has been told to go is dropped when all outboxes are full, though it is the largest: on
/// the one thread of this test its task has no turn to take it.
#[tokio::test]
async fn the_largest_outbox_makes_room_though_it_is_closing() {
    let arena = Arena::default();
    let server = Server::new(arena.clone()).outbox(1000, 1 << 30).outboxes(64 * 1024);
    let server = TestServer::start(server).await;
    let (mut kicked, its_connection) = arena.guest(&server).await;
    let (mut other, other_connection) = arena.guest(&server).await;
    its_connection.send(&Move::new(1, 60_000)).expect("room in the outbox");
    its_connection.close(Close::new(CloseCode::KICKED, "kicked"));

    // In a thread of its own, so that a send that never returns fails this test instead of hanging it.
    let (sent, returned) = mpsc::channel();
    let sending = std::thread::spawn(move || sent.send(other_connection.send(&Move::new(2, 20_000))));
    returned.recv_timeout(LIMIT).expect("a send that returns").expect("room in the other's outbox");
    sending.join().expect("no panic").expect("a test that listens");

    assert_eq!(kicked.frame().await, "close 4501");
    kicked.answer_close(4501).await;
    assert!(other.frame().await.starts_with(r#"{"method":"move","message":{"number":2,"#));
    drop((kicked, other));
    server.stop().await;
}

/// While a node drains, a handler that still runs keeps its connection open, and pushes come on.
#[tokio::test]
async fn an_outbox_is_bounded_while_its_node_drains() {
    const MOST: usize = 20_000;
    let arena = Arena::default();
    let mut server = TestServer::start(Server::new(arena.clone()).outbox(64, 32 * 1024)).await;
    let (mut client, connection) = arena.guest(&server).await;
    client.send_frames([ClientFrame::text(r#"{"method":"wait","id":2}"#)]).await;
    arena.gate.arrived(1).await;
    server.shut_down();
    within("the drain", async {
        while Upgrade::new(server.address()).ask(server.address()).await.status == 101 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut number = 0;
    let overflown = loop {
        match connection.send(&Move::new(number, 1000)) {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
        assert!(number < MOST, "20 MB were taken from a server whose client does not read");
        // The connection's task gets its turn.
        tokio::task::yield_now().await;
    };
    assert!(matches!(overflown, SendError::TooSlow), "{overflown}");
    arena.gate.open(1);
    while client.next().await.expect("a close frame").close() != Some((4002, "too slow")) {}
    client.answer_close(4002).await;
    drop(client);
    server.ended().await;
}

/// What waited when the last handler of a draining node was done is sent before the close frame, also to one whose
/// socket was blocked.
#[tokio::test]
async fn a_drain_sends_what_waits_to_a_client_that_reads_late() {
    const PUSHES: usize = 20;
    let arena = Arena::default();
    let mut server = TestServer::start(Server::new(arena.clone()).outbox(1 << 20, 1 << 30)).await;
    let (mut client, connection) = arena.guest(&server).await;
    client.send_frames([ClientFrame::text(r#"{"method":"wait","id":2}"#)]).await;
    arena.gate.arrived(1).await;
    // More than the kernel takes: the rest waits in the outbox.
    let mut number = 0;
    while connection.queued().pushes < PUSHES {
        connection.send(&Move::new(number, 10_000)).expect("a large outbox");
        number += 1;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
    server.shut_down();
    arena.gate.open(1);
    let (mut moves, mut others) = (0, Vec::new());
    while others.last().is_none_or(|last| last != "close 4000") {
        let frame = client.frame().await;
        if frame.starts_with(&format!(r#"{{"method":"move","message":{{"number":{moves},"#)) {
            moves += 1;
        } else {
            others.push(frame);
        }
    }
    assert_eq!((moves, &others[..]), (number, &["2: null".to_owned(), "close 4000".to_owned()][..]));
    client.answer_close(4000).await;
    drop(client);
    server.ended().await;
}
