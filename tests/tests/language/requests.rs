//! Valid requests and their answers.

use std::fmt;

use kengine::{Error, Liveness, Server};
use kengine_tests::{Chat, Client, Lobby, TestServer, every_row};
use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite::Message;

/// Sends each row's message and compares everything that is answered.
async fn answers<M: Into<Message>>(server: TestServer, fence: &str, rows: Vec<(&'static str, M, &[&str])>) {
    let rows = rows.into_iter().map(|(name, message, expected)| (name, (message.into(), expected)));
    every_row(rows, async |(message, expected)| {
        let mut client = Client::connect(server.address()).await;
        assert_eq!(client.answers_before(message, fence).await, expected);
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn an_answer_repeats_the_id_byte_for_byte() {
    let rows: Vec<(_, _, &[&str])> = vec![
        ("no id", r#"{"method":"chat","message":{"greeting":"hello"}}"#, &[r#""hey, you said: hello""#]),
        ("a number", r#"{"method":"chat","message":{"greeting":"hello"},"id":7}"#, &[r#"7: "hey, you said: hello""#]),
        (
            "a string",
            r#"{"method":"chat","message":{"greeting":"hello"},"id":"a1"}"#,
            &[r#""a1": "hey, you said: hello""#],
        ),
        (
            "a string without characters",
            r#"{"method":"chat","message":{"greeting":"hello"},"id":""}"#,
            &[r#""": "hey, you said: hello""#],
        ),
        (
            "a fraction that ends with a zero",
            r#"{"method":"chat","message":{"greeting":"hello"},"id":1.50}"#,
            &[r#"1.50: "hey, you said: hello""#],
        ),
        (
            "an exponent",
            r#"{"method":"chat","message":{"greeting":"hello"},"id":-1E+02}"#,
            &[r#"-1E+02: "hey, you said: hello""#],
        ),
        (
            "minus zero",
            r#"{"method":"chat","message":{"greeting":"hello"},"id":-0}"#,
            &[r#"-0: "hey, you said: hello""#],
        ),
        (
            "a number too large for any integer type",
            r#"{"method":"chat","message":{"greeting":"hello"},"id":123456789012345678901234567890}"#,
            &[r#"123456789012345678901234567890: "hey, you said: hello""#],
        ),
        (
            "an exponent too large for any float type",
            r#"{"method":"chat","message":{"greeting":"hello"},"id":1e999}"#,
            &[r#"1e999: "hey, you said: hello""#],
        ),
        (
            "an escape",
            r#"{"method":"chat","message":{"greeting":"hello"},"id":"\u0041"}"#,
            &[r#""\u0041": "hey, you said: hello""#],
        ),
        (
            "escaped quotes and a brace",
            r#"{"method":"chat","message":{"greeting":"hello"},"id":"\"}\\"}"#,
            &[r#""\"}\\": "hey, you said: hello""#],
        ),
        (
            "characters of several bytes",
            r#"{"method":"chat","message":{"greeting":"hello"},"id":"é🎲"}"#,
            &[r#""é🎲": "hey, you said: hello""#],
        ),
        (
            "64 bytes, first",
            r#"{"id":"12345678901234567890123456789012345678901234567890123456789012","method":"chat","message":{"greeting":"hello"}}"#,
            &[r#""12345678901234567890123456789012345678901234567890123456789012": "hey, you said: hello""#],
        ),
        (
            "64 digits, last",
            r#"{"method":"chat","message":{"greeting":"hello"},"id":1234567890123456789012345678901234567890123456789012345678901234}"#,
            &[r#"1234567890123456789012345678901234567890123456789012345678901234: "hey, you said: hello""#],
        ),
        (
            "65 bytes",
            r#"{"method":"chat","message":{"greeting":"hello"},"id":"123456789012345678901234567890123456789012345678901234567890123"}"#,
            &["error bad_request"],
        ),
        (
            "65 bytes, fewer after decoding escapes",
            r#"{"id":"\u0041\u0041\u0041\u0041\u0041\u0041\u0041\u0041\u0041\u0041\u0041","method":"chat","message":{"greeting":"hello"}}"#,
            &["error bad_request"],
        ),
        (
            "65 digits",
            r#"{"id":12345678901234567890123456789012345678901234567890123456789012345,"method":"chat","message":{"greeting":"hello"}}"#,
            &["error bad_request"],
        ),
    ];
    answers(TestServer::start(Server::new(Lobby)).await, Lobby::FENCE, rows).await;
}

#[tokio::test]
async fn a_request_may_be_any_equivalent_json() {
    const HELLO: &[&str] = &[r#"7: "hey, you said: hello""#];
    let rows: Vec<(_, &str, &[&str])> = vec![
        ("method, message, id", r#"{"method":"chat","message":{"greeting":"hello"},"id":7}"#, HELLO),
        ("method, id, message", r#"{"method":"chat","id":7,"message":{"greeting":"hello"}}"#, HELLO),
        ("message, method, id", r#"{"message":{"greeting":"hello"},"method":"chat","id":7}"#, HELLO),
        ("message, id, method", r#"{"message":{"greeting":"hello"},"id":7,"method":"chat"}"#, HELLO),
        ("id, method, message", r#"{"id":7,"method":"chat","message":{"greeting":"hello"}}"#, HELLO),
        ("id, message, method", r#"{"id":7,"message":{"greeting":"hello"},"method":"chat"}"#, HELLO),
        ("an escape in the key's name", r#"{"\u006dethod":"chat","message":{"greeting":"hello"},"id":7}"#, HELLO),
        ("an escape in the payload's name", r#"{"method":"chat","mess\u0061ge":{"greeting":"hello"},"id":7}"#, HELLO),
        ("an escape in the id's name", r#"{"method":"chat","message":{"greeting":"hello"},"\u0069d":7}"#, HELLO),
        ("an escape in the route", r#"{"method":"ch\u0061t","message":{"greeting":"hello"},"id":7}"#, HELLO),
        (
            "an escape in the route, after the payload",
            r#"{"message":{"greeting":"hello"},"id":7,"method":"\u0063hat"}"#,
            HELLO,
        ),
        ("an escape in the payload", r#"{"method":"chat","message":{"greet\u0069ng":"h\u0065llo"},"id":7}"#, HELLO),
        (
            "white space everywhere",
            " \t\r\n{ \"method\"\n:\t\"chat\" ,\r\n \"message\" : { \"greeting\" : \"hello\" } , \"id\" : 7 } \n",
            HELLO,
        ),
        (
            "unknown members",
            r#"{"a":"}{\"","method":"chat","b":[{"method":"x"},[]],"message":{"greeting":"hello","c":null},"d":1e9,"id":7,"e":{"id":8}}"#,
            HELLO,
        ),
        ("an unknown member twice", r#"{"a":1,"a":2,"method":"chat","message":{"greeting":"hello"},"id":7}"#, HELLO),
        ("an unknown member without a name", r#"{"":1,"method":"chat","message":{"greeting":"hello"},"id":7}"#, HELLO),
        (
            "names of another case",
            r#"{"METHOD":1,"Message":2,"ID":[],"method":"chat","message":{"greeting":"hello"},"id":7}"#,
            HELLO,
        ),
        (
            "the members reserved for resumption",
            r#"{"seq":1,"method":"chat","message":{"greeting":"hello"},"resume":"x","id":7}"#,
            HELLO,
        ),
        (
            "half a surrogate pair in an unknown member",
            r#"{"a":"\ud800","method":"chat","message":{"greeting":"hello"},"id":7}"#,
            HELLO,
        ),
        ("the old spelling", r#"{"method":"chat","message":{"greetting":"hello"},"id":7}"#, HELLO),
        (
            "an optional field",
            r#"{"method":"chat","message":{"greeting":"hello","context":{"at":[1,2]}},"id":7}"#,
            HELLO,
        ),
        (
            "an optional field that is null",
            r#"{"method":"chat","message":{"greeting":"hello","context":null},"id":7}"#,
            HELLO,
        ),
        (
            "a greeting that looks like a message",
            r#"{"method":"chat","message":{"greeting":"\"method\":\"x\",}"},"id":7}"#,
            &[r#"7: "hey, you said: \"method\":\"x\",}""#],
        ),
        (
            "characters of several bytes",
            r#"{"method":"chat","message":{"greeting":"né 🎲"},"id":7}"#,
            &[r#"7: "hey, you said: né 🎲""#],
        ),
        (
            "a surrogate pair",
            r#"{"method":"chat","message":{"greeting":"\ud83c\udfb2"},"id":7}"#,
            &[r#"7: "hey, you said: 🎲""#],
        ),
    ];
    let server = TestServer::start(Server::new(Lobby)).await;
    let as_text: fn(&'static str) -> Message = |text| Message::text(text);
    let as_binary: fn(&'static str) -> Message = |text| Message::binary(text);
    for send_as in [as_text, as_binary] {
        let rows = rows.iter().map(|&(name, message, expected)| (name, (send_as(message), expected)));
        every_row(rows, async |(message, expected)| {
            let mut client = Client::connect(server.address()).await;
            assert_eq!(client.answers_to(message).await, expected);
        })
        .await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_heartbeat_is_answered() {
    let rows: Vec<(_, _, &[&str])> = vec![
        ("a text", Message::text("p"), &["q"]),
        ("a binary message", Message::binary("p"), &["q"]),
        ("a space before", Message::text(" p"), &["error bad_request"]),
        ("a line feed after", Message::text("p\n"), &["error bad_request"]),
        ("two at once", Message::text("pp"), &["error bad_request"]),
        ("in capitals", Message::text("P"), &["error bad_request"]),
        ("the answer", Message::text("q"), &["error bad_request"]),
        ("as JSON", Message::text("\"p\""), &["error bad_request"]),
    ];
    answers(TestServer::start(Server::new(Lobby)).await, Lobby::FENCE, rows).await;
}

#[tokio::test]
async fn the_heartbeat_can_be_set() {
    let rows: Vec<(_, _, &[&str])> = vec![
        ("a text", Message::text(r#"{"ping":1}"#), &[r#"{"pong":1}"#]),
        ("a binary message", Message::binary(r#"{"ping":1}"#), &[r#"{"pong":1}"#]),
        ("with other white space", Message::text(r#"{"ping": 1}"#), &["error bad_request"]),
        ("the usual one", Message::text("p"), &["error bad_request"]),
    ];
    let server = Server::new(Lobby).heartbeat(r#"{"ping":1}"#, r#"{"pong":1}"#);
    answers(TestServer::start(server).await, Lobby::FENCE, rows).await;
}

/// Answers each heartbeat differently, by its number.
#[derive(Default)]
struct Doctor {
    heard: std::sync::atomic::AtomicU32,
}

#[kengine::dispatcher]
impl Doctor {
    #[heartbeat]
    async fn beat(&self) -> Liveness {
        match self.heard.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => Liveness::Alive,
            1 => Liveness::answer("very well"),
            2 => Liveness::Silent,
            _ => Liveness::close(kengine::CloseCode::KICKED, "enough"),
        }
    }

    #[route("chat")]
    async fn chat(&self, chat: Chat) -> String {
        chat.answer()
    }
}

#[tokio::test]
async fn a_hook_decides_how_to_answer_each_heartbeat() {
    let server = TestServer::start(Server::new(Doctor::default())).await;
    let mut client = Client::connect(server.address()).await;
    assert_eq!(client.answers_to("p").await, ["q"]);
    assert_eq!(client.answers_to("p").await, ["very well"]);
    assert_eq!(client.answers_to("p").await, [""; 0]);
    assert_eq!(client.ask("p").await, "close 4501");
    assert_eq!(client.next().await, "the end");
    server.stop().await;
}

/// Has a handler for each kind of reply.
struct Replies;

#[derive(Serialize)]
struct Nothing;

#[derive(Serialize)]
struct Point {
    x: i32,
    y: f64,
}

#[derive(Debug)]
struct Asleep;

impl fmt::Display for Asleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the dragon's cave collapsed")
    }
}

impl std::error::Error for Asleep {}

impl From<Asleep> for Error {
    fn from(asleep: Asleep) -> Self {
        Self::new("asleep", "come back in the morning").with_source(asleep)
    }
}

type Outcome<T> = std::result::Result<T, Asleep>;

#[kengine::dispatcher]
impl Replies {
    #[route]
    async fn unit(&self) {}

    #[route]
    async fn unit_struct(&self) -> Nothing {
        Nothing
    }

    #[route]
    async fn none(&self) -> Option<u32> {
        None
    }

    #[route]
    async fn some(&self) -> Option<u32> {
        Some(5)
    }

    #[route]
    async fn json_null(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    #[route]
    async fn word_null(&self) -> &'static str {
        "null"
    }

    #[route]
    async fn no(&self) -> bool {
        false
    }

    #[route]
    async fn empty(&self) -> Vec<u32> {
        Vec::new()
    }

    #[route]
    async fn point(&self) -> Point {
        Point { x: -1, y: 2.5 }
    }

    #[route]
    async fn borrowed(&self) -> &str {
        "\"quoted\"\n"
    }

    #[route]
    async fn ok(&self) -> Result<u32, Error> {
        Ok(5)
    }

    #[route]
    async fn ok_unit(&self) -> kengine::Result<()> {
        Ok(())
    }

    #[route]
    async fn ok_none(&self) -> Outcome<Option<u32>> {
        Ok(None)
    }

    #[route]
    async fn ok_some(&self) -> Outcome<Option<u32>> {
        Ok(Some(5))
    }

    #[route]
    async fn asleep(&self) -> Outcome<u32> {
        Err(Asleep)
    }

    #[route]
    async fn refused(&self) -> Result<(), Error> {
        Err(Error::new("too_far", "the \"dragon\" is too far away"))
    }

    #[route]
    async fn hidden(&self) -> Result<(), Error> {
        Err(Error::internal(Asleep))
    }

    #[route]
    async fn no_key(&self) -> std::collections::BTreeMap<Vec<u8>, u8> {
        [(vec![1], 1)].into()
    }

    #[route]
    async fn maybe(&self, point: Option<Asked>) -> String {
        point.map_or_else(|| "nothing asked".to_owned(), |asked| asked.what)
    }

    #[route("a longer name/with: anything")]
    async fn named(&self, number: i64) -> i64 {
        -number
    }
}

#[derive(Deserialize)]
struct Asked {
    what: String,
}

#[tokio::test]
async fn an_empty_reply_without_an_id_is_not_sent() {
    const FENCE: &str = r#"{"method":"no","id":"fence"}"#;
    // The route, the answer without an id, and the answer with one.
    let rows: Vec<(_, (&[&str], &str))> = vec![
        ("unit", (&[], "null")),
        ("unit_struct", (&[], "null")),
        ("none", (&[], "null")),
        ("some", (&["5"], "5")),
        ("json_null", (&[], "null")),
        ("word_null", (&[r#""null""#], r#""null""#)),
        ("no", (&["false"], "false")),
        ("empty", (&["[]"], "[]")),
        ("point", (&[r#"{"x":-1,"y":2.5}"#], r#"{"x":-1,"y":2.5}"#)),
        ("borrowed", (&[r#""\"quoted\"\n""#], r#""\"quoted\"\n""#)),
        ("ok", (&["5"], "5")),
        ("ok_unit", (&[], "null")),
        ("ok_none", (&[], "null")),
        ("ok_some", (&["5"], "5")),
        ("asleep", (&["error asleep"], "error asleep")),
        ("refused", (&["error too_far"], "error too_far")),
        ("hidden", (&["error internal"], "error internal")),
        ("no_key", (&["error internal"], "error internal")),
        ("maybe", (&[r#""nothing asked""#], r#""nothing asked""#)),
        ("a longer name/with: anything", (&["error invalid_message"], "error invalid_message")),
    ];
    let server = TestServer::start(Server::new(Replies)).await;
    every_row(
        rows.into_iter().map(|(route, expected)| (route, (route, expected))),
        async |(route, (bare, correlated))| {
            let mut client = Client::connect(server.address()).await;
            let request = format!(r#"{{"method":"{route}"}}"#);
            assert_eq!(client.answers_before(request, FENCE).await, bare, "without an id");
            let request = format!(r#"{{"method":"{route}","id":0}}"#);
            assert_eq!(client.answers_before(request, FENCE).await, [format!("0: {correlated}")], "with an id");
        },
    )
    .await;
    server.stop().await;
}

#[tokio::test]
async fn an_argument_accepts_what_its_type_deserializes() {
    const FENCE: &str = r#"{"method":"no","id":"fence"}"#;
    let rows: Vec<(_, _, &[&str])> = vec![
        ("a bare number", r#"{"method":"a longer name/with: anything","message":5}"#, &["-5"]),
        ("no message for an option", r#"{"method":"maybe"}"#, &[r#""nothing asked""#]),
        ("null for an option", r#"{"method":"maybe","message":null}"#, &[r#""nothing asked""#]),
        ("something for an option", r#"{"method":"maybe","message":{"what":"x"}}"#, &[r#""x""#]),
        ("something else for an option", r#"{"method":"maybe","message":7}"#, &["error invalid_message"]),
        ("a message for a route without one", r#"{"method":"some","message":{"x":1}}"#, &["5"]),
        (
            "a message that is not JSON, for a route without one",
            r#"{"method":"some","message":{x},"id":1}"#,
            &["error bad_request"],
        ),
        ("null for a route without a message", r#"{"method":"some","message":null}"#, &["5"]),
    ];
    answers(TestServer::start(Server::new(Replies)).await, FENCE, rows).await;
}

#[tokio::test]
async fn an_error_shows_its_message_and_never_its_cause() {
    let rows = [
        (
            "an error of the user's type",
            ("asleep", r#"{"error":{"code":"asleep","message":"come back in the morning","method":"asleep"}}"#),
        ),
        (
            "a message with quotes",
            (
                "refused",
                r#"{"error":{"code":"too_far","message":"the \"dragon\" is too far away","method":"refused"}}"#,
            ),
        ),
        (
            "an error that hides its cause",
            ("hidden", r#"{"error":{"code":"internal","message":"internal error","method":"hidden"}}"#),
        ),
        (
            "a reply that cannot be serialized",
            ("no_key", r#"{"error":{"code":"internal","message":"internal error","method":"no_key"}}"#),
        ),
    ];
    let server = TestServer::start(Server::new(Replies)).await;
    every_row(rows, async |(route, expected)| {
        let mut client = kengine_tests::RawClient::connect(server.address()).await;
        let request = format!(r#"{{"method":"{route}"}}"#);
        client.send_frames([kengine_tests::ClientFrame::text(request)]).await;
        let frame = client.next().await.expect("an answer");
        let json = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).expect("JSON");
        assert_eq!(json(&frame.payload), json(expected.as_bytes()));
    })
    .await;
    server.stop().await;
}

/// A dispatcher with other names for the key and the payload.
struct Renamed;

#[kengine::dispatcher(key = "type", payload = "data")]
impl Renamed {
    #[route("chat")]
    async fn chat(&self, chat: Chat) -> String {
        chat.answer()
    }
}

#[tokio::test]
async fn key_and_payload_can_be_renamed() {
    const FENCE: &str = r#"{"type":"chat","data":{"greeting":"x"},"id":"fence"}"#;
    let rows: Vec<(_, _, &[&str])> = vec![
        ("with these names", r#"{"type":"chat","data":{"greeting":"x"}}"#, &[r#""hey, you said: x""#]),
        ("in another order", r#"{"id":7,"data":{"greeting":"x"},"type":"chat"}"#, &[r#"7: "hey, you said: x""#]),
        ("with an escape", r#"{"t\u0079pe":"chat","data":{"greeting":"x"}}"#, &[r#""hey, you said: x""#]),
        ("with the default key", r#"{"method":"chat","data":{"greeting":"x"},"id":7}"#, &["7: error bad_request"]),
        (
            "with the default payload",
            r#"{"type":"chat","message":{"greeting":"x"},"id":7}"#,
            &["7: error invalid_message"],
        ),
        (
            "the default names are unknown members",
            r#"{"method":1,"method":2,"message":3,"message":4,"type":"chat","data":{"greeting":"x"}}"#,
            &[r#""hey, you said: x""#],
        ),
        (
            "the payload twice",
            r#"{"type":"chat","data":{"greeting":"x"},"data":{"greeting":"x"},"id":7}"#,
            &["7: error bad_request"],
        ),
    ];
    answers(TestServer::start(Server::new(Renamed)).await, FENCE, rows).await;
}

/// A dispatcher whose message fields are beside the key.
struct Flat;

#[derive(Deserialize)]
struct Step {
    x: i32,
    #[serde(default)]
    y: i32,
}

#[kengine::dispatcher(key = "type", flat)]
impl Flat {
    #[route]
    async fn step(&self, step: Step) -> i32 {
        step.x * 10 + step.y
    }

    #[route]
    async fn rest(&self) -> &'static str {
        "rested"
    }
}

#[tokio::test]
async fn fields_can_be_flat_beside_the_key() {
    const FENCE: &str = r#"{"type":"rest","id":"fence"}"#;
    let rows: Vec<(_, _, &[&str])> = vec![
        ("without an id", r#"{"type":"step","x":1,"y":2}"#, &["12"]),
        ("with an id", r#"{"type":"step","x":1,"y":2,"id":7}"#, &["7: 12"]),
        ("in another order", r#"{"y":2,"id":"a","x":1,"type":"step"}"#, &[r#""a": 12"#]),
        ("with escapes", r#"{"\u0074ype":"\u0073tep","\u0078":1,"\u0069d":7}"#, &["7: 10"]),
        ("with more fields", r#"{"type":"step","x":1,"message":{"x":5},"method":"rest"}"#, &["10"]),
        ("an unknown field", r#"{"type":"rest","x":1}"#, &[r#""rested""#]),
        ("a field missing", r#"{"type":"step","y":2,"id":7}"#, &["7: error invalid_message"]),
        ("a field of another type", r#"{"type":"step","x":"1","id":7}"#, &["7: error invalid_message"]),
        ("a field twice", r#"{"type":"step","x":1,"x":1,"id":7}"#, &["7: error invalid_message"]),
        ("the key twice", r#"{"type":"step","x":1,"type":"step","id":7}"#, &["7: error bad_request"]),
        ("no key", r#"{"x":1,"id":7}"#, &["7: error bad_request"]),
        ("an unknown method", r#"{"type":"run","x":1,"id":7}"#, &["7: error unknown_method"]),
        ("the id twice", r#"{"type":"step","x":1,"id":7,"id":7}"#, &["error bad_request"]),
        ("not JSON", r#"{"type":"step","x":1,"id":7"#, &["error bad_request"]),
    ];
    answers(TestServer::start(Server::new(Flat)).await, FENCE, rows).await;
}
