//! Events of `tracing` write foreign text only as strings, which subscribers quote and escape.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::{files, read, workspace};

/// The values that may be written with `%` or `?`: numbers and addresses, and a reason that is quoted already.
const UNQUOTED: [&str; 9] = [
    "address",
    "connection.id()",
    "handshake.client_ip()",
    "peer",
    "reason",
    "recipient.state().id",
    "self.id()",
    "self.local_addr()",
    "self.peer()",
];

/// What may stand in a message besides a literal. These values are literals elsewhere, so no foreign text gets into a
/// message, which subscribers do not quote.
const PARTS: [&str; 3] = ["\"{what}\"", "\"{}\"", "limit.line()"];

/// Collects the arguments of each `tracing::…!(…)`.
fn collect(tokens: TokenStream, events: &mut Vec<Vec<String>>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else { continue };
        let before: String = tokens[at.saturating_sub(5)..at].iter().map(ToString::to_string).collect();
        let is_event = before.strip_prefix("tracing::").is_some_and(|name| name.ends_with('!'));
        if is_event && group.delimiter() == Delimiter::Parenthesis {
            events.push(arguments(group.stream()));
        } else {
            collect(group.stream(), events);
        }
    }
}

/// Returns each argument without spaces.
fn arguments(tokens: TokenStream) -> Vec<String> {
    let mut arguments = vec![String::new()];
    for token in tokens {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ',' => arguments.push(String::new()),
            token => {
                let text: String = token.to_string().split_whitespace().collect();
                arguments.last_mut().expect("one argument at least").push_str(&text);
            }
        }
    }
    arguments
}

/// Returns the arguments of an event that are wrong, each with what is wrong.
fn mistakes(event: &[String]) -> Vec<(&str, &'static str)> {
    // The first literal is the name of a span, before its fields, or the message of an event, before the values for its
    // braces.
    let message = event.iter().position(|argument| argument.starts_with('"')).unwrap_or(event.len());
    let is_literal = |part: &str| part.starts_with('"') && !part.contains(['{', '}']);
    let arguments = event.iter().enumerate().filter(|(_, argument)| !argument.is_empty());
    let wrong = arguments.filter_map(|(at, argument)| {
        let is_of_message = at == message || at > message && !argument.contains('=');
        match is_of_message {
            true if PARTS.contains(&&**argument) || is_literal(argument) => None,
            true => Some((&**argument, "is part of the message, which is written as it is")),
            false => Some((&**argument, mistake(argument)?)),
        }
    });
    wrong.collect()
}

/// Returns what is wrong with the field of an event.
fn mistake(argument: &str) -> Option<&'static str> {
    let (name, value) = argument.split_once('=').unwrap_or((argument, argument));
    let name = name.trim_start_matches(['%', '?']);
    match value.strip_prefix(['%', '?']) {
        Some(value) if !UNQUOTED.contains(&value) => Some("may write text as it is; write a string"),
        _ if name == "message" => Some("has the name of the field that is written as it is"),
        _ if name == "error" && !value.contains("logged") => Some("may be an error, which is written as it is"),
        _ => None,
    }
}

#[test]
fn every_event_writes_text_as_a_string() {
    let mut count = 0;
    for path in files(&workspace().join("kengine/src")) {
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let source = read(&path);
        let imports = source.lines().any(|line| line.starts_with("use tracing"));
        assert!(!imports, "this test finds only `tracing::…!`; {}", path.display());
        let mut events = Vec::new();
        collect(source.parse().expect("Rust"), &mut events);
        count += events.len();
        for event in &events {
            assert_eq!(mistakes(event), [], "in {}", path.display());
        }
    }
    assert!(count > 20, "only {count} events were found");
}

#[test]
fn an_event_that_writes_text_as_it_is_is_found() {
    let mut events = Vec::new();
    let source = r#"fn f() {
        { tracing::warn!(%error, uid, id = ?name, message, error, error = logged(&error), %peer, "x"); }
        tracing::warn!(uid, "{what}");
        tracing::warn!(uid, "x {uid}");
        tracing::warn!("x {}", limit.line(), uid);
    }"#;
    collect(source.parse().expect("Rust"), &mut events);
    let found: Vec<_> = events.iter().flat_map(|event| mistakes(event)).map(|(argument, _)| argument).collect();
    assert_eq!(found, ["%error", "id=?name", "message", "error", "\"x{uid}\"", "\"x{}\"", "uid"]);
}
