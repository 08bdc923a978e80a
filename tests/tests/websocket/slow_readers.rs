//! Clients that do not read: what waits for them is bounded, whatever else happens.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use kengine::{Close, CloseCode, Push, Server};
use kengine_tests::{
    ClientFrame, HttpClient, LIMIT, Move, RawClient, ServerFrame, TestServer, Upgrade, Workshop, fill_outbox,
    heavy_test, refusals, until, within,
};
use serde::Serialize;
use tokio::{net::TcpSocket, sync::Semaphore};

/// The last push.
#[derive(Serialize, Push)]
struct Over {}

/// Reads every move, in order, until [`Over`] comes.
async fn read_along(mut client: RawClient, read: Arc<Semaphore>) -> RawClient {
    for number in 0.. {
        let frame = client.next().await.expect("a connection that lasts");
        if frame.payload.starts_with(br#"{"method":"over","#) {
            break;
        }
        expect_move(&frame, number);
        read.add_permits(1);
    }
    client
}

fn expect_move(frame: &ServerFrame, number: usize) {
    let start = format!(r#"{{"method":"move","message":{{"number":{number},"#);
    assert!(frame.payload.starts_with(start.as_bytes()), "instead of move {number}: {:.60}", frame.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_slow_reader_of_a_thousand_costs_the_others_nothing() {
    const MEMBERS: usize = 1000;
    /// The number of moves that are sent before all readers have read them; a reader is never further behind.
    const BURST: usize = 16;
    let _turn = heavy_test().await;
    let workshop = Workshop::default();
    let server = TestServer::start(
        Server::new(workshop.clone()).max_outbox_pushes(64).max_outbox_size(64 * 1024).idle_timeout(Duration::MAX),
    )
    .await;
    let room = server.hub().room("arena");
    let (mut slow, its_connection) = workshop.connect(&server).await;
    room.join(&its_connection).await.expect("a room to join");
    let read = Arc::new(Semaphore::new(0));
    let mut reading = Vec::new();
    for _ in 1..MEMBERS {
        let (client, connection) = workshop.connect(&server).await;
        room.join(&connection).await.expect("a room to join");
        reading.push(tokio::spawn(read_along(client, Arc::clone(&read))));
    }

    // Sends until a member is too slow, and then a hundred moves more.
    let (mut number, mut most) = (0, 20_000);
    let mut ended_at = None;
    while number < most {
        for _ in 0..BURST {
            let reached = room.send(&Move::new(number, 1000)).expect("a push that can be serialized");
            number += 1;
            if reached < MEMBERS && ended_at.is_none() {
                (ended_at, most) = (Some(number), number + 100);
            }
            assert_eq!(reached, MEMBERS - usize::from(ended_at.is_some()), "at move {number}");
        }
        let by_all = u32::try_from(BURST * (MEMBERS - 1)).expect("a few thousand");
        within("the others", read.acquire_many(by_all)).await.expect("never closed").forget();
    }
    assert!(ended_at.is_some(), "the outbox of a client that does not read took 20 MB");

    // When the slow member reads at last, it gets all moves from the first on, up to those that were dropped, and the
    // close frame.
    for expected in 0.. {
        let frame = slow.next().await.expect("a close frame");
        if let Some(close) = frame.close() {
            assert_eq!(close, (4002, "too slow"));
            assert!(Some(expected) < ended_at, "no move was dropped");
            break;
        }
        expect_move(&frame, expected);
    }
    slow.answer_close(4002).await;
    within("the end of the slow one", async {
        while server.hub().rooms("").local_list()[0].members == MEMBERS {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // No other member has ended.
    assert_eq!(room.send(&Over {}).expect("a push that can be serialized"), MEMBERS - 1);
    for reading in reading {
        within("a member", reading).await.expect("everything, in order");
    }
    drop(slow);
    server.stop().await;
}

/// The test runs on one thread and sends to each connection on its own, so that it knows the waiting bytes exactly.
#[tokio::test]
async fn the_largest_outbox_ends_when_all_are_full() {
    const MOST: usize = 256 * 1024;
    let workshop = Workshop::default();
    let server = TestServer::start(
        Server::new(workshop.clone()).max_outbox_pushes(1000).max_outbox_size(1 << 30).max_total_outbox_size(MOST),
    )
    .await;
    let mut guests = Vec::new();
    for _ in 0..10 {
        guests.push(workshop.connect(&server).await);
    }
    // The bytes that must wait for each connection; 0 for those that have ended.
    let mut waiting = [0; 10];
    let mut ended = Vec::new();
    let told = |bytes: usize| bytes / 4096 * 4096;
    for number in 0..10 {
        // The later connections get larger pushes, and no two the same size.
        for (at, (_, connection)) in guests.iter().enumerate().skip(number) {
            let before = connection.queued().bytes;
            let sent = connection.send(&Move::new(number, 8 * 1024 + 16 * at));
            assert_eq!(sent.is_err(), ended.contains(&at), "move {number} to {at}");
            if sent.is_ok() {
                waiting[at] = before + Move::new(number, 8 * 1024 + 16 * at).frame_size();
            }
            while waiting.iter().copied().map(told).sum::<usize>() > MOST {
                let largest = (0..10).max_by_key(|at| waiting[*at]).expect("ten of them");
                waiting[largest] = 0;
                ended.push(largest);
            }
            let queued: Vec<_> = guests.iter().map(|(_, connection)| connection.queued().bytes).collect();
            assert_eq!(queued, waiting, "after move {number} to {at}");
            assert_eq!(server.hub().queued_bytes(), queued.into_iter().map(told).sum::<usize>());
        }
    }
    assert!((2..8).contains(&ended.len()), "{ended:?}");
    for (at, (client, connection)) in guests.iter_mut().enumerate() {
        for number in 0..connection.queued().pushes {
            expect_move(&client.next().await.expect("a connection that lasts"), number);
        }
        if ended.contains(&at) {
            assert_eq!(client.frame().await, "close 4002");
            client.answer_close(4002).await;
        }
    }
    drop(guests);
    server.stop().await;
}

/// When the total is reached, what waits for a closing connection is dropped too if its outbox is the largest. The test
/// runs on one thread, so the connection's task cannot take it out before.
#[tokio::test]
async fn the_largest_outbox_makes_room_even_while_closing() {
    let workshop = Workshop::default();
    let server =
        Server::new(workshop.clone()).max_outbox_pushes(1000).max_outbox_size(1 << 30).max_total_outbox_size(64 * 1024);
    let server = TestServer::start(server).await;
    let (mut kicked, its_connection) = workshop.connect(&server).await;
    let (mut other, other_connection) = workshop.connect(&server).await;
    its_connection.send(&Move::new(1, 60_000)).expect("room in the outbox");
    its_connection.close(Close::new(CloseCode::KICKED, "kicked"));

    // Another thread sends, so that a send that never returns fails this test instead of hanging it.
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

/// While a node drains, a running handler keeps its connection open, so pushes can still be sent to it.
#[tokio::test]
async fn an_outbox_is_bounded_while_its_node_drains() {
    let workshop = Workshop::default();
    let mut server =
        TestServer::start(Server::new(workshop.clone()).max_outbox_pushes(64).max_outbox_size(32 * 1024)).await;
    let (mut client, connection) = workshop.connect(&server).await;
    client.send_frames([ClientFrame::text(r#"{"method":"wait","id":2}"#)]).await;
    workshop.gate.arrived(1).await;
    server.shut_down();
    server.drains().await;
    let taken = fill_outbox(&connection).await;
    assert!(taken < 20_000, "the outbox of a client that does not read took {taken} KB");
    workshop.gate.open(1);
    while client.next().await.expect("a close frame").close() != Some((4002, "too slow")) {}
    client.answer_close(4002).await;
    drop(client);
    server.ended().await;
}

/// Pushes that wait when the last handler of a draining node ends are sent before the close frame, even if the socket
/// was blocked.
#[tokio::test]
async fn a_drain_sends_waiting_pushes_to_a_late_reader() {
    const PUSHES: usize = 20;
    let workshop = Workshop::default();
    let mut server =
        TestServer::start(Server::new(workshop.clone()).max_outbox_pushes(1 << 20).max_outbox_size(1 << 30)).await;
    let (mut client, connection) = workshop.connect(&server).await;
    client.send_frames([ClientFrame::text(r#"{"method":"wait","id":2}"#)]).await;
    workshop.gate.arrived(1).await;
    // These are more than the kernel takes, so the rest waits in the outbox.
    let mut number = 0;
    while connection.queued().pushes < PUSHES {
        connection.send(&Move::new(number, 10_000)).expect("a large outbox");
        number += 1;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
    server.shut_down();
    workshop.gate.open(1);
    let (mut moves, mut others) = (0, Vec::new());
    while others.last().is_none_or(|last| last != "close 4000") {
        let frame = client.frame().await;
        if frame.starts_with(&format!(r#"{{"method":"move","message":{{"number":{moves},"#)) {
            moves += 1;
        } else {
            others.push(frame);
        }
    }
    assert_eq!((moves, &others[..]), (number, &["2: \"done\"".to_owned(), "close 4000".to_owned()][..]));
    client.answer_close(4000).await;
    drop(client);
    server.ended().await;
}

/// Answers count into the total of all outboxes, and those of a client that does not read are dropped with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_answers_count_into_the_total() {
    const CLIENTS: usize = 20;
    const LETTERS: usize = 1 << 20;
    /// Five answers: the kernel takes some of the first one, but not all.
    const MOST: usize = 5 * (LETTERS + 4096);
    let workshop = Workshop::default();
    let server = TestServer::start(Server::new(workshop.clone()).max_total_outbox_size(MOST)).await;
    let request = |id| ClientFrame::text(format!(r#"{{"method":"letters","message":{LETTERS},"id":{id}}}"#));
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let (mut client, connection) = workshop.connect(&server).await;
        client.send_frames((0..3).map(request)).await;
        clients.push((client, connection));
    }
    until("the end of the clients whose answers are too many", async || {
        (workshop.handled() == CLIENTS && server.hub().connections() == 5).then_some(())
    })
    .await;
    assert!(server.hub().queued_bytes() <= MOST);
    assert_eq!(refusals(server.hub(), "max_total_outbox_size"), 15);
    // The others have one answer each, whole. The next request is handled when they have read it.
    assert_eq!(workshop.handled(), CLIENTS, "the second request was handled before the first answer was read");
    let mut read = 0;
    for (client, connection) in &mut clients {
        if connection.queued().unsent > 0 {
            for id in 0..3 {
                assert_eq!(client.frame().await.len(), format!("{id}: \"\"").len() + LETTERS);
            }
            read += 1;
        }
    }
    assert_eq!(read, 5);
    drop(clients);
    server.emptied().await;
    assert_eq!(server.hub().queued_bytes(), 0);
    server.stop().await;
}

/// The answers of kicked clients that do not read count for as long as their sockets linger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_answers_count_after_a_kick() {
    const CLIENTS: usize = 10;
    const LETTERS: usize = 1 << 20;
    let workshop = Workshop::default();
    let server = Server::new(workshop.clone()).close_timeout(Duration::MAX).max_total_outbox_size(8 * LETTERS);
    let server = TestServer::start(server).await;
    let mut clients = Vec::new();
    for number in 1..=CLIENTS {
        let (mut client, connection) = workshop.connect(&server).await;
        client.send_frames([ClientFrame::text(format!(r#"{{"method":"letters","message":{LETTERS},"id":1}}"#))]).await;
        // The last ones exceed the total. Then kicked connections are closed, or the one with the largest backlog.
        until("the end of the handler", async || (workshop.handled() == number).then_some(())).await;
        connection.close(CloseCode::KICKED);
        clients.push((client, connection));
    }
    until("the end of connections beyond the total", async || (server.hub().connections() < CLIENTS).then_some(()))
        .await;
    assert!(server.hub().queued_bytes() > LETTERS);
    assert!(server.hub().queued_bytes() <= 8 * LETTERS);
    drop(clients);
    server.emptied().await;
    assert_eq!(server.hub().queued_bytes(), 0);
    server.stop().await;
}

/// A connection handles no further message while as much waits for its client as its outbox may hold.
#[tokio::test]
async fn answers_wait_up_to_the_size_of_an_outbox() {
    const LETTERS: usize = 8 * 1024;
    let workshop = Workshop::default();
    let server = TestServer::start(Server::new(workshop.clone()).max_outbox_size(LETTERS)).await;
    let (mut client, connection) = workshop.connect(&server).await;
    let requests: usize = 300;
    let request = |id| ClientFrame::text(format!(r#"{{"method":"letters","message":{LETTERS},"id":{id}}}"#));
    client.send_frames((0..requests).map(request)).await;
    until("a blocked socket", async || (connection.queued().unsent > 0).then_some(())).await;
    assert!(connection.queued().unsent < 2 * LETTERS, "{:?}", connection.queued());
    for id in 0..requests {
        assert_eq!(client.frame().await.len(), format!("{id}: \"\"").len() + LETTERS);
    }
    assert_eq!(connection.queued().unsent, 0);
    drop(client);
    server.stop().await;
}

/// A socket that takes nothing more does not wake its connection. So a connection that is closed by its own answer,
/// because it has the largest backlog, must notice that itself.
#[tokio::test]
async fn an_answer_beyond_the_total_ends_a_connection_whose_socket_never_wakes() {
    const LETTERS: usize = 8 << 20;
    let workshop = Workshop::default();
    let server = Server::new(workshop.clone()).idle_timeout(Duration::MAX).max_total_outbox_size(64 * 1024);
    let server = TestServer::start(server).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(2048).expect("a size");
    let stream = socket.connect(server.address()).await.expect("a server that listens");
    let mut http = HttpClient::over(stream);
    assert_eq!(http.request(&Upgrade::new(server.address()).bytes()).await.status, 101);
    let mut client = http.into_websocket();
    client.send_frames([ClientFrame::text(format!(r#"{{"method":"letters","message":{LETTERS}}}"#))]).await;
    server.emptied().await;
    drop(client);
    server.stop().await;
}
