//! Clients that do not read: what waits for them is bounded, and nobody else notices.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use kengine::{Connection, Push, Server, push::SendError};
use kengine_tests::{Chat, Client, ClientFrame, End, Gate, Lobby, RawClient, TestServer, Upgrade, within};

/// Leaves its connections to the test, and counts.
#[derive(Clone, Default)]
struct Arena {
    guest: Arc<Mutex<Option<Connection>>>,
    chats: Arc<AtomicUsize>,
    gate: Gate,
}

impl Arena {
    /// Connects a client and tells the connection that it has.
    async fn guest(&self, server: &TestServer) -> (RawClient, Connection) {
        let mut client = RawClient::connect(server.address()).await;
        client.send_frames([ClientFrame::text(r#"{"method":"seat","id":1}"#)]).await;
        assert_eq!(client.frame().await, "1: null");
        (client, self.guest.lock().expect("no panic").take().expect("a guest"))
    }
}

#[kengine::dispatcher]
impl Arena {
    #[route]
    async fn seat(&self, connection: &Connection) {
        *self.guest.lock().expect("no panic") = Some(connection.clone());
    }

    /// Waits for the test, and leaves it the connection.
    #[route]
    async fn wait(&self, connection: &Connection) {
        *self.guest.lock().expect("no panic") = Some(connection.clone());
        self.gate.pass().await;
    }

    /// Answers a few bytes with many.
    #[route]
    async fn blob(&self, number: usize) -> String {
        self.chats.fetch_add(1, Ordering::SeqCst);
        blob(number)
    }

    #[route("chat")]
    async fn chat(&self, chat: Chat) -> String {
        self.chats.fetch_add(1, Ordering::SeqCst);
        chat.answer()
    }
}

/// A number and 64 KiB.
fn blob(number: usize) -> String {
    format!("{number} {}", "x".repeat(64 * 1024))
}

/// One kilobyte and a number.
#[derive(serde::Serialize)]
struct Move {
    number: usize,
    ballast: &'static str,
}

impl Push for Move {
    const NAME: &'static str = "move";
}

impl Move {
    fn new(number: usize) -> Self {
        const BALLAST: &str = match std::str::from_utf8(&[b'x'; 1000]) {
            Ok(ballast) => ballast,
            Err(_) => "",
        };
        Self { number, ballast: BALLAST }
    }

    fn text(number: usize) -> String {
        let Self { number, ballast } = Self::new(number);
        format!(r#"{{"method":"move","message":{{"number":{number},"ballast":"{ballast}"}}}}"#)
    }
}

/// More than any kernel holds for one connection.
const MOST: usize = 100_000;

/// Pushes until the outbox is full; returns how many were taken.
async fn overflow(connection: &Connection) -> usize {
    for number in 0..MOST {
        match connection.send(&Move::new(number)) {
            // The connection's task gets its turn.
            Ok(()) => tokio::task::yield_now().await,
            Err(SendError::TooSlow) => return number,
            Err(error) => panic!("push {number}: {error}"),
        }
    }
    panic!("100 MB were taken from a server whose client does not read");
}

#[tokio::test]
async fn who_does_not_read_pushes_is_closed_with_4002() {
    let arena = Arena::default();
    let server =
        TestServer::start(Server::new(arena.clone()).max_outbox_pushes(64).max_outbox_size(32 * 1024)).await;
    let (mut client, connection) = arena.guest(&server).await;
    let taken = overflow(&connection).await;
    for _ in 0..3 {
        assert!(matches!(connection.send(&Move::new(0)), Err(SendError::Closed)));
    }
    // Somebody else's pushes flow.
    let (mut other, its_connection) = arena.guest(&server).await;
    its_connection.send(&Move::new(7)).expect("an empty outbox");
    assert_eq!(other.frame().await, Move::text(7));

    // Reading at last: whole frames from the first on, some are missing at the end, then the close frame.
    for number in 0..=taken {
        let frame = client.next().await.expect("a frame");
        if frame.opcode == 0x8 {
            assert_eq!(frame.close(), Some((4002, "too slow")));
            assert!(number < taken, "nothing was dropped");
            client.answer_close(4002).await;
            drop((client, other));
            return server.stop().await;
        }
        assert_eq!(frame.to_string(), Move::text(number));
    }
    panic!("all {taken} pushes and no close frame");
}

#[tokio::test]
async fn an_outbox_is_bounded_by_count_and_by_bytes() {
    let arena = Arena::default();
    let frame = Move::text(0).len() + 4;
    for (pushes, bytes, taken) in [(10, usize::MAX, 10), (usize::MAX, 10 * frame, 10), (0, usize::MAX, 0)] {
        let server =
            TestServer::start(Server::new(arena.clone()).max_outbox_pushes(pushes).max_outbox_size(bytes))
                .await;
        let (mut client, connection) = arena.guest(&server).await;
        // Without an await, on the one thread of this test, the connection's task takes none.
        for _ in 0..taken {
            connection.send(&Move::new(0)).expect("room in the outbox");
        }
        assert!(
            matches!(connection.send(&Move::new(0)), Err(SendError::TooSlow)),
            "{pushes} or {bytes} bytes"
        );
        assert!(matches!(connection.send(&Move::new(0)), Err(SendError::Closed)));
        assert_eq!(client.frame().await, "close 4002");
        client.answer_close(4002).await;
        drop(client);
        server.stop().await;
    }
}

#[tokio::test]
async fn an_outbox_overflows_while_a_handler_runs_and_the_handler_goes_on() {
    let arena = Arena::default();
    let server =
        TestServer::start(Server::new(arena.clone()).max_outbox_pushes(10).max_outbox_size(usize::MAX)).await;
    let mut client = RawClient::connect(server.address()).await;
    let wait = ClientFrame::text(r#"{"method":"wait","id":1}"#);
    client.send_frames([wait, ClientFrame::text(Lobby::request(2, "x"))]).await;
    arena.gate.arrived(1).await;
    let connection = arena.guest.lock().expect("no panic").take().expect("a guest");
    for _ in 0..10 {
        connection.send(&Move::new(0)).expect("room in the outbox");
    }
    assert!(matches!(connection.send(&Move::new(0)), Err(SendError::TooSlow)));
    assert_eq!(client.frame().await, "close 4002");
    client.send_frames([ClientFrame::close(4002, "")]).await;
    arena.gate.open(1);
    assert_eq!(client.transcript().await, ["end of TCP"]);
    assert_eq!(arena.chats.load(Ordering::SeqCst), 0, "handled after the close");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn who_reads_gets_more_than_the_outbox_holds() {
    let arena = Arena::default();
    let server =
        TestServer::start(Server::new(arena.clone()).max_outbox_pushes(4).max_outbox_size(8 * 1024)).await;
    let (mut client, connection) = arena.guest(&server).await;
    for turn in 0..1000 {
        for number in [2 * turn, 2 * turn + 1] {
            connection.send(&Move::new(number)).expect("room in the outbox");
        }
        for number in [2 * turn, 2 * turn + 1] {
            assert_eq!(client.frame().await, Move::text(number));
        }
    }
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn who_never_reads_is_cut_off_and_gives_the_place_back() {
    let arena = Arena::default();
    let server = Server::new(arena.clone())
        .max_outbox_pushes(64)
        .max_outbox_size(32 * 1024)
        .close_timeout(Duration::from_millis(100))
        .max_connections(1);
    let server = TestServer::start(server).await;
    let (mut client, connection) = arena.guest(&server).await;
    let taken = overflow(&connection).await;
    within("a place", async {
        while Upgrade::new(server.address()).ask(server.address()).await.status != 101 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut read = 0;
    loop {
        match client.next().await {
            Ok(frame) if frame.opcode == 0x1 => read += 1,
            Ok(frame) => assert_eq!(frame.to_string(), "close 4002"),
            Err(End::Closed | End::Reset) => break,
        }
    }
    assert!(read < taken, "a client that never read got everything");
    drop(client);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn megabytes_of_requests_without_reading_wait_and_are_all_answered_in_order() {
    const REQUESTS: usize = 30_000;
    let arena = Arena::default();
    let server = TestServer::start(Server::new(arena.clone())).await;
    let mut client = RawClient::connect(server.address()).await;
    let greeting = "x".repeat(1000);
    let chat = |id| ClientFrame::text(Lobby::request(id, &greeting));
    let sent = client.send_while_taken(REQUESTS, chat).await;
    let handled = arena.chats.load(Ordering::SeqCst);
    assert!(handled < REQUESTS, "30 MB of answers were written for a client that does not read");
    // Others do not notice.
    let mut other = Client::connect(server.address()).await;
    assert_eq!(other.ask(Lobby::request(1, "x")).await, Lobby::answer(1, "x"));

    for id in 0..sent {
        assert!(client.frame().await == Lobby::answer(id, &greeting), "request {id} of {sent}");
    }
    // Who reads gets the rest as fast as it likes.
    client.send_frames((0..2000).map(|id| ClientFrame::text(Lobby::request(id, "x")))).await;
    for id in 0..2000 {
        assert_eq!(client.frame().await, Lobby::answer(id, "x"));
    }
    drop((client, other));
    server.stop().await;
}

#[tokio::test]
async fn pings_without_reading_the_pongs_wait_too() {
    const PINGS: usize = 200_000;
    let payload = |number: usize| format!("{number:0125}");
    for handler_runs in [false, true] {
        let arena = Arena::default();
        let server = TestServer::start(Server::new(arena.clone())).await;
        let mut client = RawClient::connect(server.address()).await;
        if handler_runs {
            client.send_frames([ClientFrame::text(r#"{"method":"wait","id":1}"#)]).await;
            arena.gate.arrived(1).await;
        }
        let sent = client.send_while_taken(PINGS, |number| ClientFrame::ping(payload(number))).await;
        assert!(sent < PINGS, "25 MB of pongs were kept for a client that does not read");
        for number in 0..sent {
            assert_eq!(client.frame().await, format!("pong {:?}", payload(number)));
        }
        arena.gate.open(1);
        if handler_runs {
            assert_eq!(client.frame().await, "1: null");
        }
        drop(client);
        server.stop().await;
    }
}

#[tokio::test]
async fn answers_larger_than_their_requests_are_not_piled_up() {
    const REQUESTS: usize = 300;
    let arena = Arena::default();
    let server = TestServer::start(Server::new(arena.clone())).await;
    let mut client = RawClient::connect(server.address()).await;
    // Few enough bytes to be read at once, for 20 MB of answers.
    let request = |id| ClientFrame::text(format!(r#"{{"method":"blob","message":{id},"id":{id}}}"#));
    client.send_frames((0..REQUESTS).map(request)).await;
    // Others are served meanwhile, and long enough for this one's requests to be handled if they were to be.
    let mut other = Client::connect(server.address()).await;
    for id in 0..200 {
        assert_eq!(other.ask(Lobby::request(id, "x")).await, Lobby::answer(id, "x"));
    }
    let handled = arena.chats.load(Ordering::SeqCst) - 200;
    assert!(
        (1..REQUESTS).contains(&handled),
        "{handled} of {REQUESTS} were handled for a client that does not read"
    );
    for id in 0..REQUESTS {
        assert!(client.frame().await == format!("{id}: \"{}\"", blob(id)), "request {id}");
    }
    drop((client, other));
    server.stop().await;
}

#[tokio::test]
async fn who_reads_again_gets_what_waited_at_once() {
    /// More than the kernel takes at once: some of it stays in the outbox.
    const PUSHES: usize = 20_000;
    let arena = Arena::default();
    // Nothing but reading wakes the connection: no ping comes in an hour.
    let server = Server::new(arena.clone()).max_outbox_pushes(100_000).max_outbox_size(256 * 1024 * 1024);
    let server = TestServer::start(server.idle_timeout(Duration::from_secs(3 * 3600))).await;
    let (mut client, connection) = arena.guest(&server).await;
    for number in 0..PUSHES {
        connection.send(&Move::new(number)).expect("a large outbox");
        if number % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    for number in 0..PUSHES {
        assert!(client.frame().await == Move::text(number), "push {number}");
    }
    drop((client, connection));
    server.stop().await;
}
