//! Clients that take or send more than their share.

use kengine_tests::{ClientFrame, segment};

use crate::row::{Count, Row, Step, row};

/// Opens a connection and sends a frame this many times.
fn flood(frame: &ClientFrame, times: usize) -> [Step; 3] {
    [Step::Open("/ws".to_owned()), Step::Send(frame.bytes().repeat(times)), Step::SeeKinds]
}

pub(crate) fn rows(copy: usize) -> Vec<Row> {
    let mut rows = messages();
    rows.extend(unread());
    rows.extend(sockets(copy));
    rows
}

/// Too many messages, bytes, pings and fragments.
fn messages() -> Vec<Row> {
    let request = ClientFrame::text(r#"{"method":"leave","message":"x"}"#);
    let large = ClientFrame::text(format!(r#"{{"method":"leave","message":"{}"}}"#, "x".repeat(60_000)));
    vec![
        row(
            "2,000 heartbeats",
            flood(&ClientFrame::text("p"), 2000),
            &["q", "error rate_limited", "close 4502", "end of TCP"],
        )
        .holds(1, 0)
        .on(|server| server.max_messages_per_second(1, 200))
        .exceeds("max_messages_per_second", Count::Some),
        row("2,000 requests", flood(&request, 2000), &["false", "error rate_limited", "close 4502", "end of TCP"])
            .holds(1, 0)
            .on(|server| server.max_messages_per_second(1, 200))
            .exceeds("max_messages_per_second", Count::Some),
        row(
            "2,000 invalid messages",
            flood(&ClientFrame::text("{"), 2000),
            &["error bad_request", "error rate_limited", "close 4502", "end of TCP"],
        )
        .holds(1, 0)
        .on(|server| server.max_messages_per_second(1, 200))
        .exceeds("max_messages_per_second", Count::Some),
        row(
            "1 MB of requests",
            [Step::Open("/ws".to_owned()), Step::Send(large.bytes().repeat(17)), Step::SeeUntilCut],
            &["false", "error rate_limited", "close 4502", "cut off"],
        )
        .on(|server| server.max_bytes_per_second(1, 256 * 1024))
        .exceeds("max_bytes_per_second", Count::Some),
        row("100 pings", flood(&ClientFrame::ping("x"), 100), &["pong \"x\"", "close 4502", "end of TCP"])
            .holds(1, 0)
            .on(|server| server.max_pings_per_second(1, 20))
            .exceeds("max_pings_per_second", Count::Exactly(1)),
        row("100 pongs", flood(&ClientFrame::pong("x"), 100), &["close 4502", "end of TCP"])
            .holds(1, 0)
            .on(|server| server.max_pings_per_second(1, 20))
            .exceeds("max_pings_per_second", Count::Exactly(1)),
        row(
            "10,000 fragments",
            [
                Step::Open("/ws".to_owned()),
                Step::Send(segment([ClientFrame::text("p").unfinished()])),
                Step::Send(ClientFrame::continuation("").unfinished().bytes().repeat(10_000)),
                Step::SeeKinds,
            ],
            &["close 1009", "end of TCP"],
        )
        .holds(1, 0)
        .exceeds("max_fragments_per_message", Count::Exactly(1)),
        row(
            "half a message that never ends, in large fragments",
            [
                Step::Open("/ws".to_owned()),
                Step::Send(segment([ClientFrame::binary("x").unfinished()])),
                Step::Send(ClientFrame::continuation([b'x'; 1000]).unfinished().bytes().repeat(100)),
                Step::SeeKinds,
            ],
            &["close 1009", "end of TCP"],
        )
        .holds(1, 0),
    ]
}

/// What clients do not read.
fn unread() -> Vec<Row> {
    let pages = ClientFrame::text(r#"{"method":"pages","message":2000}"#).bytes();
    let books = |count| ClientFrame::text(format!(r#"{{"method":"books","message":{count}}}"#)).bytes();
    vec![
        row(
            "more pushes than an outbox takes",
            [Step::Open("/ws".to_owned()), Step::Send(pages), Step::See(1)],
            &["close 4002"],
        )
        .holds(1, 0),
        row("answers of 1 MB that are not read", [Step::Open("/ws".to_owned()), Step::Send(books(1).repeat(10))], &[])
            .holds(1, 0),
        row(
            "answers of 1 MB that are not read, and a reset",
            [Step::Open("/ws".to_owned()), Step::Send(books(1).repeat(10)), Step::Reset],
            &[],
        ),
        row(
            "short answers beyond what all outboxes may hold",
            [Step::Open("/ws".to_owned()), Step::Send(books(1).repeat(10))],
            &[],
        )
        .on(|server| server.max_total_outbox_size(50_000))
        .holds(1, 0)
        .exceeds("max_total_outbox_size", Count::Exactly(1)),
        // More than 128 KiB are unread, so the connection is cut off.
        row(
            "long answers beyond what all outboxes may hold",
            [Step::Open("/ws".to_owned()), Step::Send(books(10).repeat(3))],
            &[],
        )
        .on(|server| server.max_total_outbox_size(50_000))
        .exceeds("max_total_outbox_size", Count::Exactly(1)),
    ]
}

/// Too many sockets, handshakes and connections of one address.
fn sockets(copy: usize) -> Vec<Row> {
    let open = |number: usize| Step::Ask(format!("/ws?uid=many-{copy}-{number}"));
    vec![
        row("a fourth silent socket of an address", [Step::Sockets(4), Step::SeeAll], &["end of TCP"])
            .on(|server| server.limit_loopback().max_pending_handshakes_per_address(3))
            .exceeds("max_pending_handshakes_per_address", Count::Exactly(1)),
        row("a third connection of an address", [open(1), open(2), open(3)], &["101", "101", "429 rate_limited"])
            .on(|server| server.limit_loopback().max_connections_per_address(2))
            .holds(2, 0)
            .exceeds("max_connections_per_address", Count::Exactly(1)),
        row("a third connection of the node", [open(1), open(2), open(3)], &["101", "101", "503 unavailable"])
            .on(|server| server.max_connections(2))
            .holds(2, 0)
            .exceeds("max_connections", Count::Exactly(1)),
        row(
            "a silent socket that is the oldest of too many",
            [Step::Sockets(4), Step::Use(0), Step::SeeAll],
            &["end of TCP"],
        )
        .on(|server| server.max_pending_handshakes(3))
        .exceeds("max_pending_handshakes", Count::Exactly(1)),
        row("100 handshakes at once of an address", [Step::Sockets(100), Step::AskOnAll], &["101", "429 rate_limited"])
            .on(|server| {
                let server = server.limit_loopback().max_pending_handshakes_per_address(100);
                server.max_handshakes_per_second_per_address(1, 3)
            })
            .holds_any()
            .exceeds("max_handshakes_per_second_per_address", Count::Some),
    ]
}
