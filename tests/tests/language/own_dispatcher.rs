//! Dispatchers written by hand, for messages that are not JSON with a route key.

use kengine::{
    Context, Dispatcher, Server,
    wire::{self, Answer},
};
use kengine_tests::{Client, ClientFrame, Echo, RawClient, TestServer, every_row, segment};
use tokio_tungstenite::tungstenite::Message;

/// Lengths at which the header changes its form, those around them, and the largest message.
const LENGTHS: [(&str, usize); 9] = [
    ("0", 0),
    ("1", 1),
    ("125", 125),
    ("126", 126),
    ("127", 127),
    ("1,000", 1000),
    ("65,534", 65_534),
    ("65,535", 65_535),
    ("65,536", 65_536),
];

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|index| b'a' + u8::try_from(index % 26).expect("a letter")).collect()
}

#[tokio::test]
async fn texts_and_binary_messages_of_all_lengths_come_back() {
    let server = TestServer::start(Server::new(Echo)).await;
    every_row(LENGTHS, async |length| {
        let bytes = payload(length);
        for (opcode, name) in [(0x1, "text"), (0x2, "binary")] {
            let mut client = RawClient::connect(server.address()).await;
            let echoed = async |client: &mut RawClient, how: &str| {
                let frame = client.next().await.expect("a frame");
                assert_eq!(frame.opcode, opcode, "{name}, {how}");
                assert!(frame.payload == bytes, "{name}, {how}: {} bytes", frame.payload.len());
            };
            client.send_frames([ClientFrame::new(opcode, &bytes)]).await;
            echoed(&mut client, "whole").await;
            for count in [2, 3, 100] {
                if length >= count {
                    client.send_frames(ClientFrame::fragments(opcode, &bytes, count)).await;
                    echoed(&mut client, "in fragments").await;
                }
            }
            // Each fragment is sent in its own segment.
            if length >= 3 {
                for frame in ClientFrame::fragments(opcode, &bytes, 3) {
                    client.send_frames([frame]).await;
                    tokio::task::yield_now().await;
                }
                echoed(&mut client, "in segments").await;
            }
        }
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn clients_of_another_library_get_their_messages_back() {
    let server = TestServer::start(Server::new(Echo)).await;
    let rows = [
        ("a text", (Message::text("né 🎲"), "né 🎲".to_owned())),
        ("an empty text", (Message::text(""), String::new())),
        ("a heartbeat is a message like others", (Message::text("p"), "p".to_owned())),
        ("bytes", (Message::binary("\x01\x02"), format!("binary {:?}", "\u{1}\u{2}"))),
        ("no bytes", (Message::binary(""), "binary \"\"".to_owned())),
        ("a ping", (Message::Ping("x".into()), "pong \"x\"".to_owned())),
    ];
    every_row(rows, async |(message, expected)| {
        let mut client = Client::connect(server.address()).await;
        for _ in 0..3 {
            assert_eq!(client.ask(message.clone()).await, expected);
        }
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn many_large_messages_at_once_come_back_in_order() {
    const COUNT: usize = 64;
    let server = TestServer::start(Server::new(Echo)).await;
    let mut client = RawClient::connect(server.address()).await;
    let message = |number: usize| [number.to_string().into_bytes(), payload(20_000)].concat();
    client.send_frames((0..COUNT).map(|number| ClientFrame::binary(message(number)))).await;
    for number in 0..COUNT {
        let frame = client.next().await.expect("a frame");
        assert!(frame.payload == message(number), "message {number}");
    }
    drop(client);
    server.stop().await;
}

/// Answers once for each byte of the message.
struct Repeat;

impl Dispatcher for Repeat {
    type Session = ();

    async fn message(&self, _: Context<'_, ()>, message: wire::Message<'_>, answer: &mut Answer) {
        for (index, byte) in message.as_bytes().iter().enumerate() {
            if index % 2 == 0 {
                answer.text(&char::from(*byte).to_string());
            } else {
                answer.binary(&[*byte]);
            }
        }
    }
}

#[tokio::test]
async fn one_message_may_have_several_answers_or_none() {
    let server = TestServer::start(Server::new(Repeat)).await;
    let mut client = RawClient::connect(server.address()).await;
    client.send(segment(["abc", "", "d"].map(ClientFrame::text))).await;
    assert_eq!(client.frames(4).await, ["a", "binary \"b\"", "c", "d"]);
    drop(client);
    server.stop().await;
}
