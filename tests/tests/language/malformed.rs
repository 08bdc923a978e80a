//! Messages that are not valid requests: each is answered with an error, and the connection stays open.

#![expect(clippy::too_many_lines, reason = "the tables are long")]

use kengine::Server;
use kengine_tests::{Client, Lobby, TestServer, every_row};
use tokio_tungstenite::tungstenite::Message;

/// Sends each row's message, which must be answered once; a request after it must be answered too.
async fn errors<M: Into<Message>>(rows: impl IntoIterator<Item = (&'static str, M, &'static str)>) {
    let server = TestServer::start(Server::new(Lobby)).await;
    let rows = rows.into_iter().map(|(name, message, expected)| (name, (message.into(), expected)));
    every_row(rows, async |(message, expected)| {
        let mut client = Client::connect(server.address()).await;
        assert_eq!(client.answers_to(message).await, [expected]);
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn an_invalid_request_gets_an_error_with_its_id() {
    errors([
        ("an unknown method", r#"{"method":"nope","message":{"greeting":"x"},"id":7}"#, "7: error unknown_method"),
        ("an unknown method without an id", r#"{"method":"nope","message":{"greeting":"x"}}"#, "error unknown_method"),
        ("an unknown method alone", r#"{"method":"nope"}"#, "error unknown_method"),
        ("a method without characters", r#"{"method":"","id":7}"#, "7: error unknown_method"),
        ("a method in capitals", r#"{"method":"Chat","id":7}"#, "7: error unknown_method"),
        (
            "a method of 10,000 characters",
            Box::leak(format!(r#"{{"method":"{}","id":7}}"#, "é".repeat(10_000)).into_boxed_str()),
            "7: error unknown_method",
        ),
        ("no method", r#"{"message":{"greeting":"x"},"id":7}"#, "7: error bad_request"),
        ("no method and no id", r#"{"message":{"greeting":"x"}}"#, "error bad_request"),
        ("nothing", "{}", "error bad_request"),
        ("a method in another case", r#"{"Method":"chat","message":{"greeting":"x"},"id":7}"#, "7: error bad_request"),
        ("a number for a method", r#"{"method":1,"message":{"greeting":"x"},"id":7}"#, "7: error bad_request"),
        ("null for a method", r#"{"method":null,"message":{"greeting":"x"},"id":7}"#, "7: error bad_request"),
        ("an object for a method", r#"{"method":{"chat":1},"id":7}"#, "7: error bad_request"),
        ("an array for a method", r#"{"id":7,"method":["chat"]}"#, "7: error bad_request"),
        (
            "the method twice",
            r#"{"method":"chat","method":"chat","message":{"greeting":"x"},"id":7}"#,
            "7: error bad_request",
        ),
        (
            "the method twice, around the payload",
            r#"{"method":"chat","message":{"greeting":"x"},"method":"nope","id":7}"#,
            "7: error bad_request",
        ),
        (
            "the method twice, once by an escape",
            r#"{"method":"chat","message":{"greeting":"x"},"\u006dethod":"chat","id":7}"#,
            "7: error bad_request",
        ),
        ("an unknown method twice", r#"{"method":"nope","message":{},"method":"nope","id":7}"#, "7: error bad_request"),
        (
            "the payload twice",
            r#"{"method":"chat","message":{"greeting":"x"},"message":{"greeting":"x"},"id":7}"#,
            "7: error bad_request",
        ),
        (
            "the payload twice, once by an escape",
            r#"{"method":"chat","message":{"greeting":"x"},"mess\u0061ge":{"greeting":"x"},"id":7}"#,
            "7: error bad_request",
        ),
        (
            "the payload twice, before the method",
            r#"{"message":{"greeting":"x"},"message":null,"method":"chat","id":7}"#,
            "7: error bad_request",
        ),
        ("the id twice", r#"{"method":"chat","message":{"greeting":"x"},"id":7,"id":7}"#, "error bad_request"),
        (
            "the id twice, around the payload",
            r#"{"id":7,"method":"chat","message":{"greeting":"x"},"id":8}"#,
            "error bad_request",
        ),
        (
            "the id twice, once by an escape",
            r#"{"id":7,"method":"chat","message":{"greeting":"x"},"\u0069d":7}"#,
            "error bad_request",
        ),
        ("null for an id", r#"{"method":"chat","message":{"greeting":"x"},"id":null}"#, "error bad_request"),
        ("an object for an id", r#"{"id":{},"method":"chat","message":{"greeting":"x"}}"#, "error bad_request"),
        ("an array for an id", r#"{"method":"chat","message":{"greeting":"x"},"id":[1]}"#, "error bad_request"),
        ("true for an id", r#"{"method":"chat","message":{"greeting":"x"},"id":true}"#, "error bad_request"),
        ("false for an id", r#"{"id":false,"method":"chat","message":{"greeting":"x"}}"#, "error bad_request"),
        ("no payload", r#"{"method":"chat","id":7}"#, "7: error invalid_message"),
        ("null for a payload", r#"{"method":"chat","message":null,"id":7}"#, "7: error invalid_message"),
        ("a number for a payload", r#"{"method":"chat","message":7,"id":7}"#, "7: error invalid_message"),
        ("a string for a payload", r#"{"method":"chat","message":"x","id":7}"#, "7: error invalid_message"),
        ("a missing field", r#"{"method":"chat","message":{},"id":7}"#, "7: error invalid_message"),
        ("a missing field, no id", r#"{"method":"chat","message":{}}"#, "error invalid_message"),
        ("a field of another type", r#"{"method":"chat","message":{"greeting":7},"id":7}"#, "7: error invalid_message"),
        (
            "a field twice",
            r#"{"method":"chat","message":{"greeting":"x","greeting":"x"},"id":7}"#,
            "7: error invalid_message",
        ),
        (
            "a payload whose fault stands first",
            r#"{"message":{"greeting":7},"id":7,"method":"chat"}"#,
            "7: error invalid_message",
        ),
        (
            "half a surrogate pair in the payload",
            r#"{"method":"chat","message":{"greeting":"\ud800"},"id":7}"#,
            "7: error invalid_message",
        ),
        (
            "the other half, before the method",
            r#"{"id":7,"message":{"greeting":"\udfb2"},"method":"chat"}"#,
            "7: error invalid_message",
        ),
        (
            "a payload with a long name of the wrong type",
            Box::leak(
                format!(r#"{{"method":"chat","message":{{"greeting":{{"{}":1}}}},"id":7}}"#, "é".repeat(500))
                    .into_boxed_str(),
            ),
            "7: error invalid_message",
        ),
        (
            "a payload that is a long string",
            Box::leak(format!(r#"{{"method":"chat","message":"{}","id":7}}"#, "é".repeat(500)).into_boxed_str()),
            "7: error invalid_message",
        ),
        (
            "half a surrogate pair for a method",
            r#"{"method":"\ud800","message":{"greeting":"x"},"id":7}"#,
            "7: error bad_request",
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_message_that_is_not_json_gets_an_error_without_an_id() {
    let rows = [
        ("a word", "hello"),
        ("nothing at all", ""),
        ("white space", " \n\t "),
        ("a brace", "{"),
        ("the other brace", "}"),
        ("cut after the method", r#"{"id":7,"method":"chat""#),
        ("cut inside the payload", r#"{"id":7,"method":"chat","message":{"greeting":"x""#),
        ("cut before the last brace", r#"{"id":7,"method":"chat","message":{"greeting":"x"}"#),
        ("cut inside an escape", r#"{"id":7,"method":"chat","message":{"greeting":"\u00"#),
        ("a comma too many", r#"{"id":7,"method":"chat","message":{"greeting":"x"},}"#),
        ("a comma too many in the payload", r#"{"id":7,"method":"chat","message":{"greeting":"x",}}"#),
        ("a comma too few", r#"{"id":7,"method":"chat" "message":{"greeting":"x"}}"#),
        ("a colon too few", r#"{"id":7,"method" "chat","message":{"greeting":"x"}}"#),
        ("single quotes", r"{'id':7,'method':'chat','message':{'greeting':'x'}}"),
        ("a name without quotes", r#"{"id":7,method:"chat","message":{"greeting":"x"}}"#),
        ("a comment", r#"{"id":7,"method":"chat",/* hi */"message":{"greeting":"x"}}"#),
        ("a word after it", r#"{"id":7,"method":"chat","message":{"greeting":"x"}} x"#),
        ("a brace after it", r#"{"id":7,"method":"chat","message":{"greeting":"x"}}}"#),
        (
            "another request after it",
            r#"{"id":7,"method":"chat","message":{"greeting":"x"}}{"id":8,"method":"chat","message":{"greeting":"x"}}"#,
        ),
        ("a null byte after it", "{\"id\":7,\"method\":\"chat\",\"message\":{\"greeting\":\"x\"}}\0"),
        ("a byte order mark before it", "\u{feff}{\"id\":7,\"method\":\"chat\",\"message\":{\"greeting\":\"x\"}}"),
        ("a number with a leading zero", r#"{"id":07,"method":"chat","message":{"greeting":"x"}}"#),
        ("a number that ends with a point", r#"{"id":7.,"method":"chat","message":{"greeting":"x"}}"#),
        ("a number with a plus", r#"{"id":+7,"method":"chat","message":{"greeting":"x"}}"#),
        ("not a number", r#"{"id":NaN,"method":"chat","message":{"greeting":"x"}}"#),
        ("a word for a payload", r#"{"id":7,"method":"chat","message":undefined}"#),
        ("an unknown escape", r#"{"id":7,"method":"chat","message":{"greeting":"\x41"}}"#),
        ("a line feed inside a string", "{\"id\":7,\"method\":\"chat\",\"message\":{\"greeting\":\"a\nb\"}}"),
        ("an unknown member that is not JSON", r#"{"id":7,"method":"chat","message":{"greeting":"x"},"a":[1}"#),
        ("the same before the rest", r#"{"a":tru,"id":7,"method":"chat","message":{"greeting":"x"}}"#),
        ("an unknown field of the payload", r#"{"id":7,"method":"chat","message":{"greeting":"x","a":nul}}"#),
        ("an unknown method whose payload is not JSON", r#"{"id":7,"method":"nope","message":{x}}"#),
        ("an unknown method after a payload that is not JSON", r#"{"id":7,"message":[1,],"method":"nope"}"#),
        ("a payload of the wrong type that is not JSON", r#"{"id":7,"method":"chat","message":[1,}}"#),
        ("a payload of the wrong type, and a cut", r#"{"id":7,"method":"chat","message":7"#),
        ("a field of the wrong type, and a cut", r#"{"id":7,"method":"chat","message":{"greeting":7}"#),
        ("no method, and a cut", r#"{"id":7,"message":{"greeting":"x"}"#),
        ("the method twice, and a cut", r#"{"id":7,"method":"chat","method":"chat""#),
        ("a number for a method, and a cut", r#"{"id":7,"method":1"#),
    ];
    let texts = rows.map(|(name, text)| (name, Message::text(text), "error bad_request"));
    let binaries = rows.map(|(name, text)| (name, Message::binary(text.as_bytes()), "error bad_request"));
    errors(texts).await;
    errors(binaries).await;
}

#[tokio::test]
async fn json_that_is_not_an_object_gets_an_error() {
    errors([
        ("an empty array", "[]", "error bad_request"),
        ("an array of requests", r#"[{"id":7,"method":"chat"}]"#, "error bad_request"),
        ("the members as an array", r#"["chat",{"greeting":"x"}]"#, "error bad_request"),
        ("null", "null", "error bad_request"),
        ("a number", "7", "error bad_request"),
        ("a string", r#""chat""#, "error bad_request"),
        ("true", "true", "error bad_request"),
    ])
    .await;
}

#[tokio::test]
async fn binary_that_is_not_utf8_gets_an_error() {
    let rows: Vec<(_, &[u8], _)> = vec![
        ("alone", &[0xff, 0xfe], "error bad_request"),
        ("a null byte", &[0], "error bad_request"),
        ("nothing", &[], "error bad_request"),
        ("in a field", b"{\"id\":7,\"method\":\"chat\",\"message\":{\"greeting\":\"\xff\"}}", "error bad_request"),
        ("in a method", b"{\"id\":7,\"method\":\"\xc3\",\"message\":{\"greeting\":\"x\"}}", "error bad_request"),
        (
            "cut inside a character",
            b"{\"id\":7,\"method\":\"chat\",\"message\":{\"greeting\":\"\xf0\x9f\x8e",
            "error bad_request",
        ),
    ];
    errors(rows.into_iter().map(|(name, bytes, expected)| (name, Message::binary(bytes), expected))).await;
}

#[tokio::test]
async fn deep_nesting_is_answered_and_does_no_harm() {
    const DEEP: usize = 5_000;
    let arrays = "[".repeat(DEEP) + &"]".repeat(DEEP);
    let objects = r#"{"a":"#.repeat(DEEP) + "1" + &"}".repeat(DEEP);
    let hey = r#"7: "hey, you said: x""#;
    errors([
        ("arrays", arrays.clone(), "error bad_request"),
        ("arrays that are never closed", "[".repeat(60_000), "error bad_request"),
        ("objects", objects.clone(), "error bad_request"),
        ("objects that are never closed", r#"{"a":"#.repeat(DEEP), "error bad_request"),
        (
            "arrays for a payload",
            format!(r#"{{"method":"chat","message":{arrays},"id":7}}"#),
            "7: error invalid_message",
        ),
        (
            "objects for a payload, before the method",
            format!(r#"{{"message":{objects},"method":"chat","id":7}}"#),
            "7: error invalid_message",
        ),
        (
            "arrays for a field",
            format!(r#"{{"method":"chat","message":{{"greeting":{arrays}}},"id":7}}"#),
            "7: error invalid_message",
        ),
        (
            "arrays for a field that takes anything",
            format!(r#"{{"method":"chat","message":{{"greeting":"x","context":{arrays}}},"id":7}}"#),
            "7: error invalid_message",
        ),
        (
            "arrays for a payload of an unknown method",
            format!(r#"{{"method":"nope","message":{arrays},"id":7}}"#),
            "7: error unknown_method",
        ),
        (
            "arrays for a payload of an unknown method, never closed",
            format!(r#"{{"method":"nope","id":7,"message":{}"#, "[".repeat(DEEP)),
            "error bad_request",
        ),
        (
            "arrays for an unknown member, before the method",
            format!(r#"{{"a":{arrays},"method":"chat","message":{{"greeting":"x"}},"id":7}}"#),
            hey,
        ),
        (
            "objects for an unknown member, last",
            format!(r#"{{"method":"chat","message":{{"greeting":"x"}},"id":7,"a":{objects}}}"#),
            hey,
        ),
        (
            "arrays for an unknown field of the payload",
            format!(r#"{{"method":"chat","message":{{"greeting":"x","a":{arrays}}},"id":7}}"#),
            hey,
        ),
        ("arrays for a method", format!(r#"{{"method":{arrays},"id":7}}"#), "7: error bad_request"),
        (
            "arrays for an id",
            format!(r#"{{"id":{arrays},"method":"chat","message":{{"greeting":"x"}}}}"#),
            "error bad_request",
        ),
    ])
    .await;
}
