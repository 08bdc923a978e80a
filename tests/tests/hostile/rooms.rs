//! Rooms and users: names, seats, joins beyond the limits, and fights for a uid.

use kengine::Duplicates;
use kengine_tests::ClientFrame;

use crate::row::{Count, Row, Step, row};

fn request(route: &str, message: &str) -> Step {
    Step::Send(ClientFrame::text(format!(r#"{{"method":"{route}","message":{message},"id":1}}"#)).bytes())
}

/// The client asks for this; it sees one answer.
fn asks_route(what: &'static str, route: &str, message: &str, answer: &str) -> Row {
    row(what, [Step::Open("/ws".to_owned()), request(route, message), Step::See(1)], &[answer]).holds(1, 0)
}

fn refused_name(what: &'static str, name: &str) -> Row {
    asks_route(what, "join", &format!("\"{name}\""), "1: error bad_request")
}

pub(crate) fn rows(copy: usize) -> Vec<Row> {
    let user = |name: &str| Step::Open(format!("/ws?uid={name}-{copy}"));
    vec![
        refused_name("a room without a name", ""),
        refused_name("a room of 65 bytes", &"x".repeat(65)),
        refused_name("a room with a zero byte", "a\\u0000b"),
        refused_name("a room with a line feed", "a\\nb"),
        refused_name("a room that turns text around", "a\\u202eb"),
        asks_route("seats of a prefix of 28 bytes", "sit", &format!("\"{}\"", "x".repeat(28)), "1: error internal"),
        asks_route("a room that the client is not in", "leave", "\"nowhere\"", "1: false"),
        asks_route("33 rooms at once", "hop", "[33,false]", "1: error bad_request").holds(1, 32),
        asks_route("51 joins at once", "hop", "[51,true]", "1: error rate_limited")
            .on(|server| server.max_joins_per_second(1, 50))
            .exceeds("max_joins_per_second", Count::Exactly(1)),
        asks_route("a million joins at once", "hop", "[1000000,true]", "1: error rate_limited")
            .on(|server| server.max_joins_per_second(1, 50))
            .exceeds("max_joins_per_second", Count::Exactly(1)),
        asks_route("more rooms than the node may have", "hop", "[6,false]", "1: error unavailable")
            .on(|server| server.max_rooms(5))
            .holds(1, 5)
            .exceeds("max_rooms", Count::Exactly(1)),
        asks_route("messages to a room that does not exist", "say", "[\"nowhere\",\"x\"]", "1: null"),
        row(
            "the same room twice",
            [
                user("ada"),
                request("join", &format!("\"same {copy}\"")),
                request("join", &format!("\"same {copy}\"")),
                Step::See(2),
            ],
            &["1: null", "1: null"],
        )
        .holds(1, 1),
        row(
            "seats in one room after another",
            [
                user("bob"),
                request("sit", &format!("\"seat-{copy}-\"")),
                request("sit", &format!("\"seat-{copy}-\"")),
                Step::See(2),
            ],
            &["1: null", "1: null"],
        )
        .holds(1, 1),
        row(
            "the uid of a player who is there",
            [
                user("eve"),
                request("join", &format!("\"eve {copy}\"")),
                Step::See(1),
                user("eve"),
                Step::Use(0),
                Step::See(1),
            ],
            &["1: null", "close 4500"],
        )
        .holds(2, 0),
        row(
            "a uid ten times at once",
            [vec![user("mallory"); 10], (0..9).flat_map(|socket| [Step::Use(socket), Step::See(1)]).collect()].concat(),
            &["close 4500"; 9],
        )
        .holds(10, 0),
        row(
            "a uid that another connection keeps",
            [
                user("trudy"),
                user("trudy"),
                Step::See(1),
                Step::Use(0),
                Step::Send(ClientFrame::text("p").bytes()),
                Step::See(1),
            ],
            &["close 4503", "q"],
        )
        .on(|server| server.duplicates(Duplicates::Refuse))
        .holds(2, 0),
    ]
}
