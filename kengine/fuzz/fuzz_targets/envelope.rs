//! An envelope is what an independent reader of JSON finds in the message, for each syntax.
//!
//! The input is the syntax and the message.

#![no_main]

use kengine::testing::fuzzing::{check_envelope, parse_envelope, parse_start_of_envelope};
use kengine::wire::{Envelope, Syntax};
use kengine_fuzz::json::{self, Document};
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::Value;

const SYNTAXES: [Syntax; 7] = [
    Syntax::DEFAULT,
    Syntax::new("type", "data"),
    Syntax::flat("method"),
    Syntax::flat("t"),
    Syntax::new("a\"b", "c\\d"),
    Syntax::new("ключ", "\u{1f3ae}"),
    Syntax::new("", "\n"),
];
const MAX_ID_LEN: usize = 64;
const MAX_TEXT_LEN: usize = 256;

fuzz_target!(|data: &[u8]| {
    let Some((&syntax, text)) = data.split_first() else { return };
    let Ok(text) = str::from_utf8(text) else { return };
    let syntax = SYNTAXES[usize::from(syntax) % SYNTAXES.len()];
    let document = json::read(text);
    check_the_reader(text, document.is_some());
    let expected = document.as_ref().map(|document| Expected::of(text, document, syntax));
    late(text, syntax);
    match parse_envelope(text, syntax) {
        Ok(envelope) => accepted(text, &envelope, expected),
        Err((error, id)) => {
            assert_eq!(error.code(), "bad_request", "{text}");
            check_text(text, error.message());
            assert_eq!(error.message().starts_with("not JSON"), expected.is_none(), "{text}: {}", error.message());
            let expected = expected.unwrap_or_default();
            assert!(!expected.is_request, "{text}: {}", error.message());
            assert_eq!(id, expected.id, "{text}");
        }
    }
});

/// What a message is.
#[derive(Debug, Default)]
struct Expected<'t> {
    is_request: bool,
    route: Option<String>,
    id: Option<&'t str>,
    payload: &'t str,
}

impl<'t> Expected<'t> {
    fn of(text: &'t str, document: &Document, syntax: Syntax) -> Self {
        let Some(members) = &document.members else { return Self::default() };
        let named = |name: &str| -> Vec<&'t str> {
            let named = members.iter().filter(|member| member.name.as_deref() == Some(name));
            named.map(|member| &text[member.value.clone()]).collect()
        };
        let (keys, ids) = (named(syntax.key()), named("id"));
        let route = if let [key] = keys[..] { json::string(key) } else { None };
        let is_id = |id: &str| id.starts_with(['"', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
        let id = if let [id] = ids[..] { Some(id).filter(|id| is_id(id) && id.len() <= MAX_ID_LEN) } else { None };
        let payloads = syntax.payload().map(named);
        let payload = match payloads.as_deref() {
            None => Some(&text[document.value.clone()]),
            Some([]) => Some("null"),
            Some([payload]) => Some(*payload),
            Some(_) => None,
        };
        let is_request = route.is_some() && payload.is_some() && id.is_some() == !ids.is_empty();
        Self { is_request, route, id, payload: payload.unwrap_or_default() }
    }
}

fn accepted(text: &str, envelope: &Envelope<'_>, expected: Option<Expected<'_>>) {
    assert_eq!(envelope.size(), text.len());
    let checked = check_envelope(envelope).map_err(|(error, _)| error);
    let value = envelope.message::<Value>();
    let Some(expected) = expected else {
        // Only the payload is not checked yet.
        let error = checked.expect_err("the message is not JSON");
        assert!(error.code() == "bad_request" && error.message().starts_with("not JSON"), "{text}: {error:?}");
        check_text(text, error.message());
        assert_eq!(value.expect_err("the payload is not JSON").code(), "bad_request", "{text}");
        return;
    };
    assert_eq!(checked.expect("the message is JSON"), expected.id, "{text}");
    assert!(expected.is_request, "{text}: {envelope:?}, but {expected:?}");
    assert_eq!(Some(envelope.route()), expected.route.as_deref(), "{text}");
    assert_eq!(envelope.id(), expected.id, "{text}");
    assert_eq!(envelope.payload(), expected.payload, "{text}");
    match (value, serde_json::from_str::<Value>(expected.payload)) {
        (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs, "{text}"),
        (Err(error), Err(_)) => {
            // It is JSON that a `Value` cannot hold.
            assert_eq!(error.code(), "invalid_message", "{text}");
            check_text(text, error.message());
        }
        (ours, theirs) => panic!("{text}: {ours:?}, but {theirs:?}"),
    }
}

/// An envelope whose rest is read late is the same one.
fn late(text: &str, syntax: Syntax) {
    let started = parse_start_of_envelope(text, syntax);
    let decoded = started.as_ref().map_err(|(error, _)| error.message().to_owned()).and_then(|envelope| {
        envelope.message::<IgnoredAny>().map_err(|error| error.message().to_owned())
    });
    let whole = parse_envelope(text, syntax).and_then(|whole| check_envelope(&whole).map(|_| whole));
    match (started, whole) {
        (Ok(started), Ok(whole)) => {
            decoded.expect("the payload is JSON");
            assert_eq!((started.route(), started.id(), started.payload()), (whole.route(), whole.id(), whole.payload()));
        }
        (started, Err((error, id))) => {
            assert_eq!(decoded.expect_err("the message is no request"), error.message(), "{text}");
            let checked = started.and_then(|started| check_envelope(&started)).expect_err("it is no request");
            assert_eq!(checked.1, id, "{text}");
        }
        (Err((error, _)), Ok(_)) => panic!("{text}: {error:?}"),
    }
}

/// Checks the length and the position of an error about a message.
fn check_text(text: &str, error: &str) {
    assert!(error.len() <= MAX_TEXT_LEN, "{text}: {error}");
    if let Some((_, at)) = error.rsplit_once(" at byte ")
        && let Ok(at) = at.parse::<usize>()
    {
        assert!(at <= text.len(), "{text}: {error}");
    }
}

/// Checks our reader against serde's, which rejects some JSON: large numbers, halves of surrogate pairs, and deep
/// nesting.
fn check_the_reader(text: &str, is_json: bool) {
    match serde_json::from_str::<Value>(text) {
        Ok(_) => assert!(is_json, "{text}"),
        Err(error) if is_json => {
            let error = error.to_string();
            let limits =
                ["number out of range", "surrogate", "unexpected end of hex escape", "recursion limit exceeded"];
            assert!(limits.iter().any(|limit| error.contains(limit)), "{text}: {error}");
        }
        Err(_) => {}
    }
}
