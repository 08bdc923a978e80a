//! TCP does not preserve messages: bytes may come one by one, or many frames at once. A message may come in fragments.

use std::future::poll_fn;
use std::sync::{Arc, atomic::AtomicUsize, atomic::Ordering::SeqCst};
use std::task::Poll;

use kengine::Server;
use kengine_tests::{ClientFrame, HttpClient, Lobby, RawClient, TestServer, Upgrade, every_row, segment};
use tokio::task::JoinHandle;

fn chat(id: usize) -> ClientFrame {
    ClientFrame::text(Lobby::request(id, "x"))
}

#[tokio::test]
async fn a_connection_works_byte_by_byte() {
    let server = TestServer::start(Server::new(Lobby)).await;
    let mut http = HttpClient::connect(server.address()).await;
    for byte in Upgrade::new(server.address()).bytes() {
        http.send(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(http.response(false).await.status, 101);
    let mut client = http.into_websocket();
    let long = "é".repeat(300);
    let frames = [
        chat(1),
        ClientFrame::text("p"),
        ClientFrame::ping("there?"),
        ClientFrame::text(Lobby::request(2, &long)),
        ClientFrame::binary(Lobby::request(3, "x")),
        ClientFrame::close(1000, "bye"),
    ];
    client.send_bytewise(segment(frames)).await;
    assert_eq!(
        client.transcript().await,
        [
            &Lobby::answer(1, "x"),
            "q",
            "pong \"there?\"",
            &Lobby::answer(2, &long),
            &Lobby::answer(3, "x"),
            "close 1000",
            "end of TCP",
        ]
    );
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn frames_may_be_cut_anywhere_between_two_segments() {
    let server = TestServer::start(Server::new(Lobby)).await;
    let long = "é".repeat(100);
    let bytes = segment([
        ClientFrame::text(Lobby::request(1, &long)),
        ClientFrame::text(r#"{"method":"chat","message":{"greet"#).unfinished(),
        ClientFrame::ping("ping"),
        ClientFrame::continuation(r#"ing":"x"},"id":2}"#),
        ClientFrame::text("p"),
    ]);
    let mut client = RawClient::connect(server.address()).await;
    for cut in 1..bytes.len() {
        let (first, second) = bytes.split_at(cut);
        client.send(first).await;
        tokio::task::yield_now().await;
        client.send(second).await;
        // A pong may overtake the answer of a slow handler before it; here no handler is slow.
        let expected = [&Lobby::answer(1, &long), "pong \"ping\"", &Lobby::answer(2, "x"), "q"];
        assert_eq!(client.frames(4).await, expected, "cut at {cut}");
    }
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn fifty_requests_in_one_segment_are_answered_in_order() {
    let server = TestServer::start(Server::new(Lobby)).await;
    let mut client = RawClient::connect(server.address()).await;
    let frames = (0..25).map(chat).chain([ClientFrame::text("p")]).chain((25..50).map(chat));
    client.send_frames(frames).await;
    let answer = |id: usize| Lobby::answer(id, "x");
    let expected: Vec<_> = (0..25).map(answer).chain(["q".to_owned()]).chain((25..50).map(answer)).collect();
    assert_eq!(client.frames(51).await, expected);
    drop(client);
    server.stop().await;
}

/// Remembers how often another task has run when messages are handled.
#[derive(Clone, Default)]
struct Watcher {
    turns: Arc<AtomicUsize>,
}

#[kengine::dispatcher]
impl Watcher {
    #[route]
    async fn turns(&self) -> usize {
        self.turns.load(SeqCst)
    }

    /// The same number, as text of this length.
    #[route]
    async fn long_turns(&self, length: usize) -> String {
        format!("{:0length$}", self.turns.load(SeqCst))
    }
}

impl Watcher {
    /// Starts the other task, which counts its turns.
    fn watch(self) -> JoinHandle<()> {
        tokio::spawn(poll_fn(move |cx| {
            self.turns.fetch_add(1, SeqCst);
            cx.waker().wake_by_ref();
            Poll::Pending
        }))
    }
}

/// The test and the server share one thread.
#[tokio::test]
async fn other_tasks_run_between_the_messages_of_one_segment() {
    let watcher = Watcher::default();
    let server = TestServer::start(Server::new(watcher.clone())).await;
    let mut client = RawClient::connect(server.address()).await;
    let other = watcher.watch();
    client.send_frames(std::iter::repeat_n(ClientFrame::text(r#"{"method":"turns","id":1}"#), 400)).await;
    let mut turns = Vec::new();
    for answer in client.frames(400).await {
        turns.push(answer.strip_prefix("1: ").expect("an answer").parse::<usize>().expect("a number"));
    }
    for (at, hundreds) in turns.windows(200).enumerate() {
        assert!(hundreds[0] < hundreds[199], "nothing else ran during the messages {at} to {}", at + 199);
    }
    other.abort();
    drop(client);
    server.stop().await;
}

/// The test and the server share one thread. Each answer counts as long, and all of them together fit into the socket.
#[tokio::test]
async fn other_tasks_run_after_each_long_answer() {
    let watcher = Watcher::default();
    let server = TestServer::start(Server::new(watcher.clone()).max_outbox_size(1000)).await;
    let mut client = RawClient::connect(server.address()).await;
    let other = watcher.watch();
    let request = ClientFrame::text(r#"{"method":"long_turns","message":1000,"id":1}"#);
    client.send_frames(std::iter::repeat_n(request, 10)).await;
    let answers = client.frames(10).await;
    assert!(answers.windows(2).all(|two| two[0] < two[1]), "nothing else ran between two answers: {answers:?}");
    other.abort();
    drop(client);
    server.stop().await;
}

/// The bytes right after the handshake, the bytes that come later, and the answers.
type AfterHandshake<'a> = (Vec<u8>, &'a [u8], Vec<String>);

#[tokio::test]
async fn frames_right_after_the_handshake_are_not_lost() {
    let half = chat(2).bytes();
    let (begun, rest) = half.split_at(half.len() / 2);
    let many: Vec<_> = (0..1000).map(chat).collect();
    let rows: Vec<(_, AfterHandshake<'_>)> = vec![
        ("a request", (chat(1).bytes(), b"", vec![Lobby::answer(1, "x")])),
        ("a heartbeat", (ClientFrame::text("p").bytes(), b"", vec!["q".to_owned()])),
        ("a ping", (ClientFrame::ping("x").bytes(), b"", vec!["pong \"x\"".to_owned()])),
        (
            "a request and a half",
            ([&chat(1).bytes(), begun].concat(), rest, vec![Lobby::answer(1, "x"), Lobby::answer(2, "x")]),
        ),
        ("a byte of a header", (half[..1].to_vec(), &half[1..], vec![Lobby::answer(2, "x")])),
        ("1,000 requests", (segment(many), b"", (0..1000).map(|id| Lobby::answer(id, "x")).collect())),
        (
            "a close",
            (ClientFrame::close(1000, "").bytes(), b"", vec!["close 1000".to_owned(), "end of TCP".to_owned()]),
        ),
        (
            "a protocol error",
            (
                segment([chat(1), ClientFrame::text("x").unmasked()]),
                b"",
                vec![Lobby::answer(1, "x"), "close 1002".to_owned(), "end of TCP".to_owned()],
            ),
        ),
    ];
    let server = TestServer::start(Server::new(Lobby)).await;
    let plain = Upgrade::new(server.address());
    // hyper reads a request that may have a body.
    let by_hyper = plain.clone().and("Content-Length", "0");
    every_row(rows, async |(at_once, later, expected)| {
        for request in [&plain, &by_hyper] {
            let mut http = HttpClient::connect(server.address()).await;
            http.send(&[&request.bytes()[..], &at_once].concat()).await;
            assert_eq!(http.response(false).await.status, 101);
            let mut client = http.into_websocket();
            client.send(later).await;
            assert_eq!(client.frames(expected.len()).await, expected);
        }
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_message_may_come_in_fragments() {
    let request = Lobby::request(1, "né 🎲");
    let bytes = request.as_bytes();
    let answer = Lobby::answer(1, "né 🎲");
    let between = |frames: Vec<ClientFrame>, frame: &ClientFrame| -> Vec<ClientFrame> {
        frames.into_iter().flat_map(|fragment| [fragment, frame.clone()]).collect()
    };
    let pongs = |count| vec!["pong \"between\"".to_owned(); count];
    let rows = [
        ("two", (ClientFrame::fragments(0x1, bytes, 2), vec![answer.clone()])),
        ("binary", (ClientFrame::fragments(0x2, bytes, 3), vec![answer.clone()])),
        ("one per byte, characters cut", (ClientFrame::fragments(0x1, bytes, bytes.len()), vec![answer.clone()])),
        (
            "with pings between",
            (
                between(ClientFrame::fragments(0x1, bytes, 5), &ClientFrame::ping("between")),
                [pongs(4), vec![answer.clone()], pongs(1)].concat(),
            ),
        ),
        (
            "with pings between the bytes",
            (
                between(ClientFrame::fragments(0x1, bytes, bytes.len()), &ClientFrame::ping("between")),
                [pongs(bytes.len() - 1), vec![answer.clone()], pongs(1)].concat(),
            ),
        ),
        (
            "with pongs between",
            (between(ClientFrame::fragments(0x1, bytes, 5), &ClientFrame::pong("between")), vec![answer.clone()]),
        ),
        (
            "empty fragments before, between and after",
            (
                vec![
                    ClientFrame::text("").unfinished(),
                    ClientFrame::continuation("").unfinished(),
                    ClientFrame::continuation(bytes).unfinished(),
                    ClientFrame::continuation("").unfinished(),
                    ClientFrame::continuation(""),
                ],
                vec![answer.clone()],
            ),
        ),
        (
            "a heartbeat",
            (vec![ClientFrame::text("p").unfinished(), ClientFrame::continuation("")], vec!["q".to_owned()]),
        ),
        (
            "only empty fragments",
            (
                vec![ClientFrame::binary("").unfinished(), ClientFrame::continuation("")],
                vec!["error bad_request".to_owned()],
            ),
        ),
    ];
    let server = TestServer::start(Server::new(Lobby)).await;
    every_row(rows, async |(frames, expected)| {
        let mut client = RawClient::connect(server.address()).await;
        // A whole message follows, so that leftovers of the fragments would be noticed.
        client.send_frames(frames.iter().cloned().chain([chat(2)])).await;
        let expected = [expected, vec![Lobby::answer(2, "x")]].concat();
        assert_eq!(client.frames(expected.len()).await, expected, "in one segment");
        for frame in frames.into_iter().chain([chat(2)]) {
            client.send_frames([frame]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(client.frames(expected.len()).await, expected, "in a segment each");
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_ping_is_answered_with_its_payload() {
    let longest = "x".repeat(125);
    let pong = |payload: &str| vec![format!("pong {payload:?}")];
    let rows = [
        ("empty", (vec![ClientFrame::ping("")], pong(""))),
        ("a word", (vec![ClientFrame::ping("there?")], pong("there?"))),
        ("125 bytes", (vec![ClientFrame::ping(&longest)], pong(&longest))),
        ("bytes that are not UTF-8", (vec![ClientFrame::ping([0xff, 0])], pong("\u{fffd}\0"))),
        ("several", (["a", "b", "c"].map(ClientFrame::ping).into(), ["a", "b", "c"].map(pong).concat())),
        ("an unsolicited pong", (vec![ClientFrame::pong("here")], vec![])),
        ("an unsolicited pong of 125 bytes", (vec![ClientFrame::pong(&longest)], vec![])),
    ];
    let server = TestServer::start(Server::new(Lobby)).await;
    every_row(rows, async |(frames, expected)| {
        let mut client = RawClient::connect(server.address()).await;
        client.send_frames(frames.into_iter().chain([ClientFrame::text("p")])).await;
        let expected = [expected, vec!["q".to_owned()]].concat();
        assert_eq!(client.frames(expected.len()).await, expected);
    })
    .await;
    server.stop().await;
}
