//! Messages that are no requests, or wrong ones. Each is answered, and the connection stays.

use kengine_tests::{ClientFrame, segment};

use crate::row::{Row, Step, asks, row};

/// The client sends a text and a heartbeat; it sees this answer, and the heartbeat's.
fn answered(what: &'static str, text: impl AsRef<[u8]>, answer: &str) -> Row {
    row(what, asks(text), &[answer, "q"]).holds(1, 0)
}

fn bad(what: &'static str, text: impl AsRef<[u8]>) -> Row {
    answered(what, text, "error bad_request")
}

pub(crate) fn rows(_: usize) -> Vec<Row> {
    let deep = |count| format!(r#"{{"method":"short","message":{}{},"id":1}}"#, "[".repeat(count), "]".repeat(count));
    let binary = [ClientFrame::binary([0xff, 0, 0xfe]), ClientFrame::text("p")];
    vec![
        bad("nothing", ""),
        bad("a word", "hello"),
        bad("zero bytes", "\0\0\0"),
        bad("half an object", "{"),
        bad("an array", "[]"),
        bad("an array of 60,000 arrays, not closed", "[".repeat(60_000)),
        bad("an object of 10,000 objects", format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000))),
        bad("a number of 60,000 digits", "9".repeat(60_000)),
        bad("two requests in a message", r#"{"method":"leave","id":1}{"method":"leave","id":2}"#),
        bad("no method", "{}"),
        bad("an id of 65 bytes", format!(r#"{{"method":"short","message":"x","id":"{}"}}"#, "x".repeat(63))),
        bad("an id of 60,000 digits", format!(r#"{{"method":"short","message":"x","id":{}}}"#, "7".repeat(60_000))),
        bad("an id that is an object", r#"{"method":"short","message":"x","id":{}}"#),
        bad("an id that is null", r#"{"method":"short","message":"x","id":null}"#),
        bad("two ids", r#"{"method":"short","message":"x","id":1,"id":2}"#),
        answered("an answer to nothing", r#"{"id":1,"result":true}"#, "1: error bad_request"),
        answered("an error to nothing", r#"{"id":1,"error":{"code":"x","message":"x"}}"#, "1: error bad_request"),
        answered("two methods", r#"{"method":"short","method":"leave","message":"x","id":1}"#, "1: error bad_request"),
        answered("two payloads", r#"{"method":"short","message":"x","message":"y","id":1}"#, "1: error bad_request"),
        answered("a method that is a number", r#"{"method":1,"id":1}"#, "1: error bad_request"),
        answered("an unknown method", r#"{"method":"admin","id":1}"#, "1: error unknown_method"),
        answered(
            "an unknown method of 60,000 bytes",
            format!(r#"{{"method":"{}","id":1}}"#, "x".repeat(60_000)),
            "1: error unknown_method",
        ),
        answered("a hook as a method", r#"{"method":"enter","id":1}"#, "1: error unknown_method"),
        answered("a payload of another type", r#"{"method":"join","message":7,"id":1}"#, "1: error invalid_message"),
        answered("a missing payload", r#"{"method":"join","id":1}"#, "1: error invalid_message"),
        answered("a negative count", r#"{"method":"pages","message":-1,"id":1}"#, "1: error invalid_message"),
        answered("a count of 1e999", r#"{"method":"pages","message":1e999,"id":1}"#, "1: error invalid_message"),
        answered("half a surrogate pair", r#"{"method":"join","message":"\ud800","id":1}"#, "1: error invalid_message"),
        answered("ten nested arrays in a short route", deep(10), "1: error invalid_message"),
        answered("a message too large for its route", deep(100), "1: error too_large"),
        answered(
            "20,000 arrays in the payload",
            format!(r#"{{"method":"join","message":{}{},"id":1}}"#, "[".repeat(20_000), "]".repeat(20_000)),
            "1: error invalid_message",
        ),
        row(
            "binary bytes that are no text",
            [Step::Open("/ws".to_owned()), Step::Send(segment(binary)), Step::See(2)],
            &["error bad_request", "q"],
        )
        .holds(1, 0),
        row(
            "more of a route than its rate allows",
            [
                Step::Open("/ws".to_owned()),
                Step::Send(segment((1..=3).map(|id| ClientFrame::text(format!(r#"{{"method":"seldom","id":{id}}}"#))))),
                Step::See(3),
            ],
            &["1: null", "2: error rate_limited", "3: error rate_limited"],
        )
        .holds(1, 0),
    ]
}
