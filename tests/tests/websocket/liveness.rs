//! Clients that fall silent, and clients that only seem silent.

use std::time::{Duration, Instant};

use kengine::{
    CloseCode, Server,
    testing::{self, Served},
};
use kengine_tests::{
    Client, ClientFrame, HttpClient, Lobby, RawClient, ServerFrame, TestServer, Upgrade, Workshop, without_rates,
};

/// A short timeout, for tests that wait for its end.
const SOON: Duration = Duration::from_millis(150);
/// An idle timeout so long that a busy machine notices each third of it.
const IN_A_WHILE: Duration = Duration::from_millis(4500);

/// Reads pings until another frame comes; returns their number and that frame.
async fn after_pings(client: &mut RawClient) -> (usize, ServerFrame) {
    let mut pings = 0;
    loop {
        let frame = client.next().await.expect("a frame");
        if frame.to_string() != "ping \"\"" {
            return (pings, frame);
        }
        pings += 1;
    }
}

#[tokio::test]
async fn a_silent_client_is_pinged_then_closed_with_4001() {
    let server = TestServer::start(Server::new(Lobby).idle_timeout(IN_A_WHILE)).await;
    let begun = Instant::now();
    let mut client = RawClient::connect(server.address()).await;
    let (pings, end) = after_pings(&mut client).await;
    assert!(pings > 0, "closed without a ping");
    assert_eq!(end.close(), Some((4001, "heartbeat timeout")));
    assert!(begun.elapsed() >= IN_A_WHILE, "closed before its time");
    client.answer_close(4001).await;
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_answers_pings_stays() {
    let server = TestServer::start(Server::new(Lobby).idle_timeout(IN_A_WHILE)).await;
    let mut client = Client::connect(server.address()).await;
    // A ping comes after a third of the idle timeout at the earliest, so five take longer than all of it.
    for _ in 0..5 {
        assert_eq!(client.next().await, "ping \"\"");
    }
    assert_eq!(client.answers_to(Lobby::request(1, "x")).await, [Lobby::answer(1, "x")]);
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_sends_anything_stays() {
    let rows = [
        ("heartbeats", ClientFrame::text("p")),
        ("requests", ClientFrame::text(Lobby::request(1, "x"))),
        ("nonsense", ClientFrame::text("hello")),
        ("pings", ClientFrame::ping("")),
        ("pongs", ClientFrame::pong("")),
    ];
    let server = TestServer::start(Server::new(Lobby).idle_timeout(IN_A_WHILE)).await;
    kengine_tests::every_row(rows, async |frame| {
        let mut client = RawClient::connect(server.address()).await;
        let mut pings = 0;
        while pings < 4 {
            match client.frame().await.as_str() {
                "ping \"\"" => {
                    pings += 1;
                    client.send_frames([frame.clone()]).await;
                }
                answer => assert!(!answer.starts_with("close"), "{answer} after {pings} pings"),
            }
        }
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn an_endless_message_is_no_sign_of_life() {
    let server = TestServer::start(Server::new(Lobby).idle_timeout(SOON)).await;
    let mut client = RawClient::connect(server.address()).await;
    let endless = ClientFrame::text("x".repeat(1000)).bytes();
    let mut pieces = endless.chunks(2);
    let end = loop {
        client.send(pieces.next().expect("more than enough")).await;
        let frame = client.frame().await;
        if frame != "ping \"\"" {
            break frame;
        }
    };
    assert_eq!(end, "close 4001");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_running_handler_is_no_sign_of_life() {
    let workshop = Workshop::default();
    let server = TestServer::start(Server::new(workshop.clone()).idle_timeout(IN_A_WHILE)).await;
    let mut client = RawClient::connect(server.address()).await;
    client.send_frames([ClientFrame::text(r#"{"method":"wait","id":1}"#)]).await;
    workshop.gate.arrived(1).await;
    let (pings, end) = after_pings(&mut client).await;
    assert!(pings > 0, "closed without a ping");
    assert_eq!(end.close(), Some((4001, "heartbeat timeout")));
    workshop.gate.open(1);
    client.answer_close(4001).await;
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_answers_pings_stays_during_a_handler() {
    let workshop = Workshop::default();
    let server = TestServer::start(Server::new(workshop.clone()).idle_timeout(IN_A_WHILE)).await;
    let mut client = Client::connect(server.address()).await;
    client.send(r#"{"method":"wait","id":1}"#).await;
    workshop.gate.arrived(1).await;
    for _ in 0..5 {
        assert_eq!(client.next().await, "ping \"\"");
    }
    workshop.gate.open(1);
    assert_eq!(client.next().await, "1: \"done\"");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn an_unfinished_handshake_is_cut_off() {
    let server = TestServer::start(Server::new(Lobby).handshake_timeout(SOON)).await;
    let request = Upgrade::new(server.address()).bytes();
    let mut http = HttpClient::connect(server.address()).await;
    http.send(&request[..request.len() - 2]).await;
    let rest = http.rest().await;
    assert!(!rest.starts_with(b"HTTP/1.1 101"), "half a handshake was enough");
    server.stop().await;
}

/// Has a slow route and a route with a long reply.
struct Library;

/// The size of an answer in bytes: more than one such answer is written before the next request is handled.
const BOOK: usize = 60_000;

#[kengine::dispatcher]
impl Library {
    #[route]
    async fn search(&self, seconds: u64) -> u64 {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        seconds
    }

    #[route]
    async fn book(&self) -> String {
        "x".repeat(BOOK)
    }
}

/// Serves a library whose only limit on waits and rates is the idle timeout, a minute.
fn library() -> Served<Library> {
    testing::serve(without_rates(Library).handler_timeout(Duration::MAX).drain_timeout(Duration::MAX))
}

/// Connects a client that has sent a search of one second and then this many requests for a book, and reads nothing.
async fn reader(library: &Served<Library>, books: usize) -> testing::Client {
    let mut reader = library.connect("/ws").await.expect("a place");
    reader.notify("search", &1).await;
    for _ in 0..books {
        reader.notify("book", &()).await;
    }
    reader
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_counts_as_silent() {
    const FEW: usize = 3;
    /// More requests than are read ahead.
    const MANY: usize = 300;
    async fn gone(library: &Served<Library>) {
        let gone = tokio::time::timeout(Duration::from_secs(70), library.emptied()).await;
        gone.expect("the end within the idle timeout and the close timeout");
    }
    let library = library();
    let many = reader(&library, MANY).await;
    gone(&library).await;
    drop(many);

    let mut closed = reader(&library, FEW).await;
    closed.close(CloseCode::NORMAL, "").await;
    gone(&library).await;
    drop(closed);

    let drained = reader(&library, FEW).await;
    let drain = tokio::time::timeout(Duration::from_secs(70), library.drain()).await;
    drain.expect("the end within the idle timeout and the close timeout");
    drop(drained);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_stays() {
    let library = library();
    let mut reader = reader(&library, 10).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(reader.next_text().await.as_deref(), Some("1"));
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(reader.next_text().await.map(|book| book.len()), Some(BOOK + 2));
    }
    assert_eq!(reader.request::<u64>("search", &0).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_the_server_does_not_read_is_not_silent() {
    let library = library();
    let mut reader = library.connect("/ws").await.expect("a place");
    reader.notify("search", &300).await;
    // These are more than is read ahead, so the server does not read the socket until the search has ended.
    for _ in 0..300 {
        reader.notify("search", &0).await;
    }
    tokio::time::sleep(Duration::from_secs(299)).await;
    assert_eq!(reader.next_text().await.as_deref(), Some("300"));
    for _ in 0..300 {
        assert_eq!(reader.next_text().await.as_deref(), Some("0"));
    }
}
