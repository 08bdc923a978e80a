//! Clients that do not read: what waits for them is bounded, and other clients do not notice.

use std::time::Duration;

use kengine::{Server, push::SendError};
use kengine_tests::{Client, ClientFrame, End, Lobby, Move, RawClient, TestServer, Workshop, fill_outbox};

/// Returns the push of a kilobyte that `fill_outbox` sends.
fn kilobyte(number: usize) -> Move {
    Move::new(number, 1000)
}

#[tokio::test]
async fn a_client_that_does_not_read_pushes_is_closed_with_4002() {
    let workshop = Workshop::default();
    let server =
        TestServer::start(Server::new(workshop.clone()).max_outbox_pushes(64).max_outbox_size(32 * 1024)).await;
    let (mut client, connection) = workshop.connect(&server).await;
    let taken = fill_outbox(&connection).await;
    for _ in 0..3 {
        assert!(matches!(connection.send(&kilobyte(0)), Err(SendError::Closed)));
    }
    // Pushes to other clients arrive.
    let (mut other, its_connection) = workshop.connect(&server).await;
    its_connection.send(&kilobyte(7)).expect("an empty outbox");
    assert_eq!(other.frame().await, kilobyte(7).text());

    // When the client reads at last, it gets whole pushes from the first on; the last ones are missing; the close frame
    // follows.
    for number in 0..=taken {
        let frame = client.next().await.expect("a frame");
        if frame.opcode == 0x8 {
            assert_eq!(frame.close(), Some((4002, "too slow")));
            assert!(number < taken, "no push was dropped");
            client.answer_close(4002).await;
            drop((client, other));
            return server.stop().await;
        }
        assert_eq!(frame.to_string(), kilobyte(number).text());
    }
    panic!("all {taken} pushes came, but no close frame");
}

#[tokio::test]
async fn an_outbox_is_bounded_by_count_and_by_bytes() {
    let workshop = Workshop::default();
    let frame = kilobyte(0).frame_size();
    for (pushes, bytes, taken) in [(10, usize::MAX, 10), (usize::MAX, 10 * frame, 10), (0, usize::MAX, 0)] {
        let server =
            TestServer::start(Server::new(workshop.clone()).max_outbox_pushes(pushes).max_outbox_size(bytes)).await;
        let (mut client, connection) = workshop.connect(&server).await;
        // The test runs on one thread and does not await here, so the connection's task takes no push out.
        for _ in 0..taken {
            connection.send(&kilobyte(0)).expect("room in the outbox");
        }
        assert!(matches!(connection.send(&kilobyte(0)), Err(SendError::TooSlow)), "{pushes} or {bytes} bytes");
        assert!(matches!(connection.send(&kilobyte(0)), Err(SendError::Closed)));
        assert_eq!(client.frame().await, "close 4002");
        client.answer_close(4002).await;
        drop(client);
        server.stop().await;
    }
}

#[tokio::test]
async fn an_overflowing_outbox_does_not_cancel_the_handler() {
    let workshop = Workshop::default();
    let server =
        TestServer::start(Server::new(workshop.clone()).max_outbox_pushes(10).max_outbox_size(usize::MAX)).await;
    let mut client = RawClient::connect(server.address()).await;
    let wait = ClientFrame::text(r#"{"method":"wait","id":1}"#);
    client.send_frames([wait, ClientFrame::text(Lobby::request(2, "x"))]).await;
    workshop.gate.arrived(1).await;
    let connection = workshop.guest();
    for _ in 0..10 {
        connection.send(&kilobyte(0)).expect("room in the outbox");
    }
    assert!(matches!(connection.send(&kilobyte(0)), Err(SendError::TooSlow)));
    assert_eq!(client.frame().await, "close 4002");
    client.send_frames([ClientFrame::close(4002, "")]).await;
    workshop.gate.open(1);
    assert_eq!(client.transcript().await, ["end of TCP"]);
    assert_eq!(workshop.handled(), 0, "handled after the close");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_reader_gets_more_than_the_outbox_holds() {
    let workshop = Workshop::default();
    let server = TestServer::start(Server::new(workshop.clone()).max_outbox_pushes(4).max_outbox_size(8 * 1024)).await;
    let (mut client, connection) = workshop.connect(&server).await;
    for turn in 0..1000 {
        for number in [2 * turn, 2 * turn + 1] {
            connection.send(&kilobyte(number)).expect("room in the outbox");
        }
        for number in [2 * turn, 2 * turn + 1] {
            assert_eq!(client.frame().await, kilobyte(number).text());
        }
    }
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_off() {
    let workshop = Workshop::default();
    let server = Server::new(workshop.clone())
        .max_outbox_pushes(64)
        .max_outbox_size(32 * 1024)
        .close_timeout(Duration::from_millis(100))
        .max_connections(1);
    let server = TestServer::start(server).await;
    let (mut client, connection) = workshop.connect(&server).await;
    let taken = fill_outbox(&connection).await;
    server.has_room().await;
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
async fn requests_wait_while_their_answers_are_not_read() {
    const REQUESTS: usize = 30_000;
    let workshop = Workshop::default();
    let server = TestServer::start(Server::new(workshop.clone())).await;
    let mut client = RawClient::connect(server.address()).await;
    let greeting = "x".repeat(1000);
    let chat = |id| ClientFrame::text(Lobby::request(id, &greeting));
    let sent = client.send_while_taken(REQUESTS, chat).await;
    let handled = workshop.handled();
    assert!(handled < REQUESTS, "30 MB of answers were written for a client that does not read");
    // Other clients do not notice.
    let mut other = Client::connect(server.address()).await;
    assert_eq!(other.ask(Lobby::request(1, "x")).await, Lobby::answer(1, "x"));

    for id in 0..sent {
        assert!(client.frame().await == Lobby::answer(id, &greeting), "request {id} of {sent}");
    }
    // A client that reads again is served without limit.
    client.send_frames((0..2000).map(|id| ClientFrame::text(Lobby::request(id, "x")))).await;
    for id in 0..2000 {
        assert_eq!(client.frame().await, Lobby::answer(id, "x"));
    }
    drop((client, other));
    server.stop().await;
}

#[tokio::test]
async fn pings_wait_while_their_pongs_are_not_read() {
    const PINGS: usize = 200_000;
    let payload = |number: usize| format!("{number:0125}");
    for handler_runs in [false, true] {
        let workshop = Workshop::default();
        let server = TestServer::start(Server::new(workshop.clone())).await;
        let mut client = RawClient::connect(server.address()).await;
        if handler_runs {
            client.send_frames([ClientFrame::text(r#"{"method":"wait","id":1}"#)]).await;
            workshop.gate.arrived(1).await;
        }
        let sent = client.send_while_taken(PINGS, |number| ClientFrame::ping(payload(number))).await;
        assert!(sent < PINGS, "25 MB of pongs were kept for a client that does not read");
        for number in 0..sent {
            assert_eq!(client.frame().await, format!("pong {:?}", payload(number)));
        }
        workshop.gate.open(1);
        if handler_runs {
            assert_eq!(client.frame().await, "1: \"done\"");
        }
        drop(client);
        server.stop().await;
    }
}

#[tokio::test]
async fn large_answers_to_small_requests_do_not_pile_up() {
    const REQUESTS: usize = 300;
    let workshop = Workshop::default();
    let server = TestServer::start(Server::new(workshop.clone())).await;
    let mut client = RawClient::connect(server.address()).await;
    // All requests fit into one read, but their answers have 20 MB.
    let request = |id| ClientFrame::text(format!(r#"{{"method":"blob","message":{id},"id":{id}}}"#));
    client.send_frames((0..REQUESTS).map(request)).await;
    // Another client is served meanwhile, for long enough that all requests of the first would be handled if they were
    // not held back.
    let mut other = Client::connect(server.address()).await;
    for id in 0..200 {
        assert_eq!(other.ask(Lobby::request(id, "x")).await, Lobby::answer(id, "x"));
    }
    let handled = workshop.handled() - 200;
    assert!((1..REQUESTS).contains(&handled), "{handled} of {REQUESTS} were handled for a client that does not read");
    for id in 0..REQUESTS {
        assert!(client.frame().await == format!("{id}: \"{}\"", Workshop::blob_of(id)), "request {id}");
    }
    drop((client, other));
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_reads_again_gets_what_waited() {
    /// More than the kernel takes at once, so that some of it stays in the outbox.
    const PUSHES: usize = 20_000;
    let workshop = Workshop::default();
    // The idle timeout is so long that no ping wakes the connection, but only reading.
    let server = Server::new(workshop.clone()).max_outbox_pushes(100_000).max_outbox_size(256 * 1024 * 1024);
    let server = TestServer::start(server.idle_timeout(Duration::from_secs(3 * 3600))).await;
    let (mut client, connection) = workshop.connect(&server).await;
    for number in 0..PUSHES {
        connection.send(&kilobyte(number)).expect("a large outbox");
        if number % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    for number in 0..PUSHES {
        assert!(client.frame().await == kilobyte(number).text(), "push {number}");
    }
    drop((client, connection));
    server.stop().await;
}
