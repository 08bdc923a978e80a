//! Frames that violate RFC 6455, and messages beyond the limits.

use kengine_tests::{ClientFrame, segment};

use crate::row::{Count, Row, Step, row, sends};

/// The default of `Server::max_message_size`, in bytes.
const LARGEST: u64 = 64 * 1024;

/// Bytes after which the server closes the connection with this code. It waits for the end of TCP of the client.
fn violation(what: &'static str, code: u16, bytes: impl Into<Vec<u8>>) -> Row {
    row(what, sends(bytes), &[&format!("close {code}"), "end of TCP"]).holds(1, 0)
}

/// Bytes that begin with a close frame, whose code the server repeats.
fn closes_with(what: &'static str, code: u16, bytes: impl Into<Vec<u8>>) -> Row {
    violation(what, code, bytes).holds(0, 0)
}

fn wrong(what: &'static str, frame: &ClientFrame) -> Row {
    violation(what, 1002, frame.bytes())
}

fn text(payload: impl AsRef<[u8]>) -> ClientFrame {
    ClientFrame::text(payload)
}

pub(crate) fn rows(_: usize) -> Vec<Row> {
    let unfinished = |payload: &[u8]| ClientFrame::text(payload).unfinished();
    let mut rows = vec![
        wrong("an unmasked text", &text("p").unmasked()),
        wrong("an unmasked close", &ClientFrame::close(1000, "").unmasked()),
        wrong("reserved bit 1", &text("p").reserved(1)),
        wrong("reserved bit 2", &text("p").reserved(2)),
        wrong("reserved bit 3", &text("p").reserved(3)),
        wrong("a reserved bit of a ping", &ClientFrame::ping("").reserved(1)),
        wrong("opcode 3", &ClientFrame::new(0x3, "x")),
        wrong("opcode 7", &ClientFrame::new(0x7, "x")),
        wrong("opcode 11", &ClientFrame::new(0xb, "x")),
        wrong("opcode 15", &ClientFrame::new(0xf, "x")),
        wrong("a ping of 126 bytes", &ClientFrame::ping([b'x'; 126])),
        wrong("a ping that announces 64 MiB", &ClientFrame::ping("").announcing(64 << 20)),
        wrong("a fragmented ping", &ClientFrame::ping("x").unfinished()),
        wrong("a continuation of nothing", &ClientFrame::continuation("x")),
        violation("a text inside a text", 1002, segment([unfinished(b"x"), text("y")])),
        violation("a binary message inside a text", 1002, segment([unfinished(b"x"), ClientFrame::binary("y")])),
        wrong("a short length in 16 bits", &text("hello").with_16_bit_length()),
        wrong("a short length in 64 bits", &text("hello").with_64_bit_length()),
        wrong("a length with its first bit set", &text("").announcing(1 << 63)),
        violation("a text that is not UTF-8", 1007, text(b"\xff").bytes()),
        violation("an overlong character", 1007, text(b"\xc0\xaf").bytes()),
        violation("half a surrogate pair", 1007, text(b"\xed\xa0\x80").bytes()),
        violation("half a character", 1007, text(b"\xf0\x9f\x8e").bytes()),
        violation("a fragment that is not UTF-8, without an end", 1007, unfinished(b"\xff").bytes()),
        violation("a reason that is not UTF-8", 1007, ClientFrame::close(1000, b"\xff").bytes()),
        violation("a frame that announces a byte too many", 1009, text("").announcing(LARGEST + 1).bytes()),
        violation("a frame that announces 64 MiB", 1009, text("").announcing(64 << 20).bytes()),
        violation("a frame that announces 2^63 - 1 bytes", 1009, text("").announcing(u64::MAX >> 1).bytes()),
        violation("a message of 256 KiB", 1009, ClientFrame::binary(vec![b'x'; 1 << 18]).bytes()),
        violation(
            "a message that is too large in two fragments",
            1009,
            segment([unfinished(&[b'x'; 40_000]), ClientFrame::continuation([b'x'; 40_000])]),
        ),
        violation(
            "1,025 fragments",
            1009,
            segment(
                [unfinished(b"p")].into_iter().chain((1..1025).map(|_| ClientFrame::continuation("").unfinished())),
            ),
        )
        .exceeds("max_fragments_per_message", Count::Exactly(1)),
    ];
    rows.extend(closes());
    rows
}

/// Close frames.
fn closes() -> Vec<Row> {
    let close = |code| ClientFrame::close(code, "");
    vec![
        wrong("a close of one byte", &ClientFrame::new(0x8, [3])),
        wrong("a close of 126 bytes", &ClientFrame::close(1000, [b'x'; 124])),
        wrong("a fragmented close", &close(1000).unfinished()),
        wrong("close 0", &close(0)),
        wrong("close 999", &close(999)),
        wrong("close 1004, which is reserved", &close(1004)),
        wrong("close 1005, which is never sent", &close(1005)),
        wrong("close 1006, which is never sent", &close(1006)),
        wrong("close 1015, which is never sent", &close(1015)),
        wrong("close 2999, which is for extensions", &close(2999)),
        wrong("close 5000", &close(5000)),
        closes_with(
            "requests after a close",
            4321,
            segment([close(4321), ClientFrame::text("p"), ClientFrame::text("{")]),
        ),
        closes_with("a violation after a close", 4321, segment([close(4321), ClientFrame::new(0xf, "")])),
        closes_with("two closes", 1000, segment([close(1000), close(1001)])),
        row(
            "1 MiB after a close",
            [
                Step::Open("/ws".to_owned()),
                Step::Send([close(1000).bytes(), vec![0; 1 << 20]].concat()),
                Step::SeeUntilCut,
            ],
            &["close 1000", "cut off"],
        ),
        row(
            "the end of TCP inside a frame",
            [
                Step::Open("/ws".to_owned()),
                Step::Send(ClientFrame::text("p").announcing(100).bytes()),
                Step::StopWriting,
                Step::SeeAll,
            ],
            &["end of TCP"],
        ),
        row(
            "the end of TCP inside a message",
            [
                Step::Open("/ws".to_owned()),
                Step::Send(ClientFrame::text("p").unfinished().bytes()),
                Step::StopWriting,
                Step::SeeAll,
            ],
            &["end of TCP"],
        ),
        row("a reset without a close", [Step::Open("/ws".to_owned()), Step::Reset], &[]),
        row(
            "a reset inside a frame",
            [Step::Open("/ws".to_owned()), Step::Send(ClientFrame::text("p").announcing(9).bytes()), Step::Reset],
            &[],
        ),
    ]
}
