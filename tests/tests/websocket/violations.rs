//! Violations of RFC 6455: the server sends a close frame with the right code, then closes TCP. Requests before the
//! violation are answered.

use kengine::Server;
use kengine_tests::{ClientFrame, Lobby, RawClient, TestServer, every_row, segment};

/// The default of `Server::max_message_size`, in bytes.
const LARGEST: usize = 64 * 1024;
/// The largest size in bytes at which a violation is also written byte by byte.
const SHORT: usize = 1024;

/// Sends each row's bytes after a request; the answer, the close frame and the end of TCP must follow. Nothing is sent
/// after the row's bytes, so the server must notice the violation from them alone.
async fn violations(code: u16, rows: impl IntoIterator<Item = (&'static str, Vec<u8>)>) {
    let server = TestServer::start(Server::new(Lobby)).await;
    let expected = [Lobby::answer(1, "first"), "q".to_owned(), format!("close {code}"), "end of TCP".to_owned()];
    let request = segment([ClientFrame::text(Lobby::request(1, "first")), ClientFrame::text("p")]);
    every_row(rows, async |violation| {
        let bytes = [&request[..], &violation].concat();

        let mut client = RawClient::connect(server.address()).await;
        client.send(&bytes).await;
        assert_eq!(client.transcript().await, expected, "in one segment");

        if violation.len() <= SHORT {
            let mut client = RawClient::connect(server.address()).await;
            client.send_bytewise(&bytes).await;
            assert_eq!(client.transcript().await, expected, "byte by byte");
        }
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_protocol_error_is_closed_with_1002() {
    let hello = || ClientFrame::text(Lobby::request(2, "second"));
    let mut rows = vec![
        ("an unmasked text", hello().unmasked().bytes()),
        ("an unmasked text without a payload", ClientFrame::text("").unmasked().bytes()),
        ("an unmasked ping", ClientFrame::ping("x").unmasked().bytes()),
        ("an unmasked close", ClientFrame::close(1000, "").unmasked().bytes()),
        ("reserved bit 1", hello().reserved(1).bytes()),
        ("reserved bit 2", hello().reserved(2).bytes()),
        ("reserved bit 3", hello().reserved(3).bytes()),
        ("all reserved bits", hello().reserved(1).reserved(2).reserved(3).bytes()),
        ("a reserved bit of a ping", ClientFrame::ping("x").reserved(1).bytes()),
        ("a reserved bit of a close", ClientFrame::close(1000, "").reserved(3).bytes()),
        (
            "a reserved bit of a continuation",
            segment([ClientFrame::text("x").unfinished(), ClientFrame::continuation("y").reserved(1)]),
        ),
        ("a ping of 126 bytes", ClientFrame::ping([b'x'; 126]).bytes()),
        ("a pong of 126 bytes", ClientFrame::pong([b'x'; 126]).bytes()),
        ("a close of 126 bytes", ClientFrame::close(1000, [b'x'; 124]).bytes()),
        ("a ping that announces 64 KiB", ClientFrame::ping("").announcing(65_536).bytes()),
        ("a ping whose length has a longer form than it needs", ClientFrame::ping("x").with_16_bit_length().bytes()),
        ("a fragmented ping", ClientFrame::ping("x").unfinished().bytes()),
        ("a fragmented pong", ClientFrame::pong("x").unfinished().bytes()),
        ("a fragmented close", ClientFrame::close(1000, "").unfinished().bytes()),
        ("a close of one byte", ClientFrame::new(0x8, [3]).bytes()),
        ("a continuation without a first fragment", ClientFrame::continuation("x").bytes()),
        ("an unfinished continuation without a first fragment", ClientFrame::continuation("x").unfinished().bytes()),
        ("a text inside a text", segment([ClientFrame::text("x").unfinished(), ClientFrame::text("y")])),
        (
            "an unfinished text inside a text, after a pong",
            segment([ClientFrame::text("x").unfinished(), ClientFrame::pong(""), ClientFrame::text("y").unfinished()]),
        ),
        ("a binary message inside a text", segment([ClientFrame::text("x").unfinished(), ClientFrame::binary("y")])),
        ("a text inside a binary message", segment([ClientFrame::binary("x").unfinished(), ClientFrame::text("y")])),
        ("a length with its first bit set", ClientFrame::text("x").announcing(1 << 63).bytes()),
        ("the longest length", ClientFrame::binary("").announcing(u64::MAX).bytes()),
        ("5 bytes with a 16-bit length", ClientFrame::text("hello").with_16_bit_length().bytes()),
        ("5 bytes with a 64-bit length", ClientFrame::text("hello").with_64_bit_length().bytes()),
        ("200 bytes with a 64-bit length", ClientFrame::binary([b'x'; 200]).with_64_bit_length().bytes()),
    ];
    for (name, opcode) in [
        ("opcode 3", 0x3),
        ("opcode 4", 0x4),
        ("opcode 5", 0x5),
        ("opcode 6", 0x6),
        ("opcode 7", 0x7),
        ("opcode 11", 0xb),
        ("opcode 12", 0xc),
        ("opcode 13", 0xd),
        ("opcode 14", 0xe),
        ("opcode 15", 0xf),
    ] {
        rows.push((name, ClientFrame::new(opcode, "x").bytes()));
    }
    for (name, code) in [
        ("close 0", 0),
        ("close 999", 999),
        ("close 1004, reserved", 1004),
        ("close 1005, never on the wire", 1005),
        ("close 1006, never on the wire", 1006),
        ("close 1015, never on the wire", 1015),
        ("close 1016, unassigned", 1016),
        ("close 1100, unassigned", 1100),
        ("close 2000, for extensions", 2000),
        ("close 2999, for extensions", 2999),
        ("close 5000", 5000),
        ("close 65535", 65_535),
    ] {
        rows.push((name, ClientFrame::close(code, "").bytes()));
    }
    violations(1002, rows).await;
}

#[tokio::test]
async fn invalid_utf8_is_closed_with_1007_at_its_first_byte() {
    let unfinished = |bytes: &[u8]| ClientFrame::text(bytes).unfinished();
    let and_on = |bytes: &[u8]| ClientFrame::continuation(bytes).unfinished();
    violations(
        1007,
        [
            ("a byte that never occurs in UTF-8", ClientFrame::text(b"he\xffllo").bytes()),
            ("a continuation byte alone", ClientFrame::text(b"\x80").bytes()),
            ("an overlong character", ClientFrame::text(b"\xc0\xaf").bytes()),
            ("half a surrogate pair", ClientFrame::text(b"\xed\xa0\x80").bytes()),
            ("a character beyond the last", ClientFrame::text(b"\xf4\x90\x80\x80").bytes()),
            ("a character that ends early", ClientFrame::text(b"\xe2\x82x").bytes()),
            ("cut at the end of the only frame", ClientFrame::text(b"hello \xf0\x9f\x8e").bytes()),
            ("in a frame that has not ended", ClientFrame::text(b"hello \xff").announcing(100).bytes()),
            ("in a frame of 60,000 bytes that has not ended", ClientFrame::text(b"\xff").announcing(60_000).bytes()),
            ("in a message that has not ended", unfinished(b"hello \xff").bytes()),
            ("in a later fragment", segment([unfinished(b"hello "), and_on(b"\xff")])),
            (
                "in a fragment that has not ended",
                segment([unfinished(b"hello "), ClientFrame::continuation(b"\xc1").announcing(9)]),
            ),
            ("in the middle of a character, over two fragments", segment([unfinished(b"\xf0\x9f"), and_on(b"x")])),
            (
                "in the middle of a character, around a pong",
                segment([unfinished(b"\xf0\x9f\x8e"), ClientFrame::pong(b"\xff"), and_on(b"\x28")]),
            ),
            (
                "cut at the end of the last fragment",
                segment([unfinished(b"hello "), ClientFrame::continuation(b"\xf0\x9f")]),
            ),
            (
                "cut before an empty last fragment",
                segment([unfinished(b"hello \xe2\x82"), ClientFrame::continuation("")]),
            ),
            ("in the reason of a close", ClientFrame::close(1000, b"bye\xff").bytes()),
            ("cut in the reason of a close", ClientFrame::close(1000, b"bye \xe2\x82").bytes()),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_message_over_the_limit_is_closed_with_1009_early() {
    let large = request_of(LARGEST + 1024);
    let header = |length| ClientFrame::text("").announcing(length).bytes();
    let fragments = ClientFrame::fragments(0x1, &large, 100);
    // `proof` is the number of fragments that fit. The header of the next one exceeds the limit; its payload is not
    // sent.
    let proof = LARGEST / fragments[0].bytes().len();
    let up_to_proof = segment(fragments.iter().take(proof).cloned());
    let fifty = |byte: u8| vec![byte; 50 * 1024];
    violations(
        1009,
        [
            ("65 KiB", ClientFrame::text(&large).bytes()),
            ("65 KiB, binary", ClientFrame::binary(&large).bytes()),
            ("a byte too many", ClientFrame::text(request_of(LARGEST + 1)).bytes()),
            ("65 KiB in 100 fragments", segment(fragments)),
            ("a header of 65 KiB", header(65 * 1024)),
            ("a header of a byte too many", header(LARGEST as u64 + 1)),
            ("a header of 1 GiB", header(1 << 30)),
            ("a header of the longest valid length", header(u64::MAX >> 1)),
            (
                "the header of a fragment that exceeds the limit with the others",
                [up_to_proof, ClientFrame::continuation("").unfinished().announcing(2000).bytes()].concat(),
            ),
            (
                "two fragments of 50 KiB, of which the second has only begun",
                segment([
                    ClientFrame::binary(fifty(b'x')).unfinished(),
                    ClientFrame::continuation("").announcing(50 * 1024),
                ]),
            ),
        ],
    )
    .await;
}

/// Returns a chat request of exactly this many bytes.
fn request_of(length: usize) -> Vec<u8> {
    let bare = Lobby::request(2, "").len();
    Lobby::request(2, &"x".repeat(length - bare)).into_bytes()
}

#[tokio::test]
async fn a_message_of_exactly_the_limit_is_answered() {
    let exact = request_of(LARGEST);
    assert_eq!(exact.len(), LARGEST);
    let rows = [
        ("one frame", ClientFrame::text(&exact).bytes()),
        ("one binary frame", ClientFrame::binary(&exact).bytes()),
        ("2 fragments", segment(ClientFrame::fragments(0x1, &exact, 2))),
        ("100 fragments", segment(ClientFrame::fragments(0x1, &exact, 100))),
        ("100 fragments with pings between", {
            let ping = |frame| [frame, ClientFrame::pong([b'x'; 125])];
            segment(ClientFrame::fragments(0x2, &exact, 100).into_iter().flat_map(ping))
        }),
    ];
    let server = TestServer::start(Server::new(Lobby)).await;
    let greeting = "x".repeat(LARGEST - Lobby::request(2, "").len());
    every_row(rows, async |bytes| {
        let mut client = RawClient::connect(server.address()).await;
        // The limit applies to each message, so a second one is answered, too.
        for _ in 0..2 {
            client.send(&bytes).await;
            let answered = client.frame().await;
            assert!(answered == Lobby::answer(2, &greeting), "not the answer: {answered:.200}…");
        }
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn the_limit_of_a_message_can_be_set() {
    let server = TestServer::start(Server::new(Lobby).max_message_size(100)).await;
    let rows = [
        (
            "exactly the limit",
            (ClientFrame::text(request_of(100)).bytes(), Lobby::answer(2, &"x".repeat(100 - request_of_nothing()))),
        ),
        ("a byte more", (ClientFrame::text(request_of(101)).bytes(), "close 1009".to_owned())),
        ("a control frame does not count", {
            let ping = ClientFrame::ping([b'x'; 125]).bytes();
            (ping, format!("pong {:?}", "x".repeat(125)))
        }),
    ];
    every_row(rows, async |(bytes, expected)| {
        let mut client = RawClient::connect(server.address()).await;
        client.send(bytes).await;
        assert_eq!(client.frame().await, expected);
    })
    .await;
    server.stop().await;
}

fn request_of_nothing() -> usize {
    Lobby::request(2, "").len()
}

#[tokio::test]
async fn the_reason_tells_a_client_what_to_fix() {
    let rows = [
        ("too large", (ClientFrame::text("").announcing(1 << 30), Some("message too large"))),
        ("not UTF-8", (ClientFrame::text(b"\xff"), None)),
        ("a protocol error", (ClientFrame::text("x").unmasked(), None)),
    ];
    let server = TestServer::start(Server::new(Lobby)).await;
    every_row(rows, async |(frame, expected)| {
        let mut client = RawClient::connect(server.address()).await;
        client.send_frames([frame]).await;
        let frame = client.next().await.expect("a close frame");
        let (_, reason) = frame.close().expect("a close frame with a reason");
        assert!(!reason.is_empty(), "no reason");
        assert!(expected.is_none_or(|expected| expected == reason), "the reason is {reason:?}");
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn requests_before_a_violation_are_answered_and_none_after() {
    let server = TestServer::start(Server::new(Lobby)).await;
    let chat = |id: u32| ClientFrame::text(Lobby::request(id, "x"));
    let mut client = RawClient::connect(server.address()).await;
    let before = (1..=20).map(chat);
    let breach = [ClientFrame::text("x").reserved(2)];
    client.send_frames(before.chain(breach).chain((21..=40).map(chat))).await;
    let answers = (1..=20).map(|id| Lobby::answer(id, "x"));
    let end = ["close 1002".to_owned(), "end of TCP".to_owned()];
    assert_eq!(client.transcript().await, answers.chain(end).collect::<Vec<_>>());
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_large_message_is_refused_while_it_arrives() {
    let server = TestServer::start(Server::new(Lobby)).await;
    let mut client = RawClient::connect(server.address()).await;
    client.send(ClientFrame::binary(vec![b'x'; 16 * 1024 * 1024]).bytes()).await;
    assert_eq!(client.transcript().await, ["close 1009", "end of TCP"]);
    drop(client);
    server.stop().await;
}
