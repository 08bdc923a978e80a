//! The envelope of a request: its route, its id and its payload, parsed without copying.

mod error_text;
mod scanner;
mod usual_start;

use std::{borrow::Cow, fmt};

use serde::{Deserialize, de::IgnoredAny};

use self::error_text::{locate, not_json, position, reason, shape, truncate};
use self::scanner::{Malformed, Piece, Scanner};
use self::usual_start::{UsualStart, usual_start};
use crate::protocol::error::{Error, Result};
use crate::protocol::syntax::Syntax;

/// The member that correlates a request with its answer, in every syntax.
const ID: &str = "id";
/// The longest id, in bytes of JSON. Ids are bounded because answers repeat them.
const MAX_ID_LEN: usize = 64;
/// The longest route name that an error quotes, in bytes.
const MAX_QUOTE_LEN: usize = 64;

/// One request: the name of a route, an optional id, and a payload that is not decoded yet.
///
/// The envelope borrows from the message, and decoded values may borrow from it too:
///
/// ```
/// #[derive(serde::Deserialize)]
/// struct Chat<'a> {
///     #[serde(borrow)]
///     greeting: std::borrow::Cow<'a, str>,
/// }
///
/// fn greeting<'a>(envelope: &kengine::wire::Envelope<'a>) -> kengine::Result<std::borrow::Cow<'a, str>> {
///     Ok(envelope.message::<Chat<'a>>()?.greeting)
/// }
/// ```
#[derive(Clone)]
pub struct Envelope<'a> {
    /// The whole message. Positions in errors count from its start.
    text: &'a str,
    /// Owned only if the name contains escapes.
    route: Cow<'a, str>,
    id: Option<&'a str>,
    payload: &'a str,
    /// Where the payload starts in `text`; `None` if its member is missing.
    payload_at: Option<usize>,
    /// Whether nothing after the start of the payload is read yet. Then `payload` is the rest of the message, and `id`
    /// is missing if it follows the payload.
    has_unread: bool,
    syntax: Syntax,
}

/// A message that is not a request.
#[derive(Debug)]
pub(crate) struct Rejected<'a> {
    /// Always a `bad_request`.
    pub(crate) error: Error,
    /// The id, if the whole message is valid JSON with exactly one valid id. Otherwise the answer must not repeat it.
    pub(crate) id: Option<&'a str>,
}

impl<'a> Envelope<'a> {
    /// Parses a message. Everything except the content of the payload is checked to be valid JSON; the payload is
    /// checked by [`message`](Self::message), or by [`check`](Self::check) if it is never decoded.
    pub(crate) fn parse(text: &'a str, syntax: Syntax) -> Result<Self, Rejected<'a>> {
        let mut members = ParsedMembers::default();
        if members.read(text, syntax).is_err() {
            return Err(Rejected { error: not_json(text), id: None });
        }
        match members {
            ParsedMembers { route: Some(route), id, payload, fault: None, .. } => Ok(Self {
                text,
                route,
                id,
                payload: payload.map_or("null", |piece| piece.raw(text)),
                payload_at: payload.map(|piece| piece.at),
                has_unread: false,
                syntax,
            }),
            members => Err(members.reject(text, syntax)),
        }
    }

    /// Parses a message only up to its payload if it has the [usual start](usual_start). Then
    /// [`decode`](Self::decode) reads the rest, so that the payload is read once. Otherwise this is
    /// [`parse`](Self::parse).
    #[inline]
    pub(crate) fn parse_start(text: &'a str, syntax: Syntax) -> Result<Self, Rejected<'a>> {
        let Some(UsualStart { id, route, rest }) = usual_start(text, syntax) else {
            return Self::parse(text, syntax);
        };
        let (route, payload_at) = (Cow::Borrowed(route), Some(text.len() - rest.len()));
        Ok(Self { text, route, id, payload: rest, payload_at, has_unread: true, syntax })
    }

    /// Returns this envelope with nothing unread.
    fn whole(&self) -> Result<Cow<'_, Self>, Rejected<'a>> {
        if self.has_unread { Self::parse(self.text, self.syntax).map(Cow::Owned) } else { Ok(Cow::Borrowed(self)) }
    }

    /// Returns the name of the route.
    pub fn route(&self) -> &str {
        &self.route
    }

    /// Returns the id as it was written: a JSON number or string of at most 64 bytes. `None` if there is no id.
    pub fn id(&self) -> Option<&'a str> {
        self.whole().map_or_else(|rejected| rejected.id, |whole| whole.id)
    }

    /// Returns the id if it precedes what is unread.
    pub(crate) fn early_id(&self) -> Option<&'a str> {
        self.id
    }

    /// Returns the payload as raw JSON: `null` if there is none, and the whole message if the syntax is
    /// [flat](Syntax::flat).
    ///
    /// In a handler and in `#[fallback]` it is valid JSON. Elsewhere, such as in `#[before]` and in
    /// [`FromContext`](crate::FromContext), it may not have been checked yet.
    pub fn payload(&self) -> &'a str {
        self.whole().map_or(self.payload, |whole| whole.payload)
    }

    /// Returns the size of the whole message in bytes.
    pub fn size(&self) -> usize {
        self.text.len()
    }

    /// Decodes the payload.
    ///
    /// # Errors
    ///
    /// `bad_request` if it is not JSON, `invalid_message` if it is JSON that does not fit `T`.
    pub fn message<T: Deserialize<'a>>(&self) -> Result<T> {
        self.decode().map(|(message, _)| message)
    }

    /// Decodes the payload, and returns it with the id.
    ///
    /// # Errors
    ///
    /// Those of [`message`](Self::message), and `bad_request` if what is unread is not the rest of a request.
    pub(crate) fn decode<T: Deserialize<'a>>(&self) -> Result<(T, Option<&'a str>)> {
        if let Some(decoded) = self.decode_unread() {
            return Ok(decoded);
        }
        let whole = self.whole().map_err(|rejected| rejected.error)?;
        match serde_json::from_str(whole.payload) {
            Ok(message) => Ok((message, whole.id)),
            Err(error) => Err(whole.decode_error(&error)),
        }
    }

    /// Decodes an unread payload, and reads what follows it. Returns `None` if this fails.
    fn decode_unread<T: Deserialize<'a>>(&self) -> Option<(T, Option<&'a str>)> {
        let start = self.payload_at.filter(|_| self.has_unread)?;
        let mut values = serde_json::Deserializer::from_str(self.payload).into_iter();
        let message = values.next()?.ok()?;
        let end = start + values.byte_offset();
        let id = if self.text.get(end..) == Some("}") { self.id } else { self.read_rest(start, end)? };
        Some((message, id))
    }

    /// Reads what follows the payload, which is unread and ends at `end`. Returns the id, or `None` if the message is
    /// not a request.
    #[expect(clippy::option_option, reason = "a request need not have an id")]
    fn read_rest(&self, start: usize, end: usize) -> Option<Option<&'a str>> {
        let mut scanner = Scanner { text: self.text, at: end };
        let mut members = ParsedMembers {
            route: Some(Cow::Borrowed("")),
            id: self.id,
            has_id: self.id.is_some(),
            payload: Some(scanner.piece_from(start)),
            fault: None,
        };
        if scanner.skip_comma().ok()? {
            members.read_members(&mut scanner, self.syntax).ok()?;
        }
        (scanner.is_at_end() && members.fault.is_none()).then_some(members.id)
    }

    /// Checks that the whole message is a request, and returns its id. Used for a payload that is never decoded.
    pub(crate) fn check(&self) -> Result<Option<&'a str>, Rejected<'a>> {
        let whole = self.whole()?;
        if is_json(whole.payload) { Ok(whole.id) } else { Err(Rejected { error: not_json(self.text), id: None }) }
    }

    /// Returns the error of a request whose route does not exist.
    pub(crate) fn unknown_method(&self) -> Error {
        let name = truncate(&self.route, MAX_QUOTE_LEN);
        Error::new("unknown_method", format!("no route is named `{name}`"))
    }

    #[cold]
    fn decode_error(&self, error: &serde_json::Error) -> Error {
        if let Err(rejected) = self.check() {
            return rejected.error;
        }
        let reason = reason(error);
        let text = match (self.payload_at, self.syntax.payload()) {
            (Some(at), _) => locate(&reason, position(error, self.payload).map(|inside| at + inside)),
            (None, name) => locate(&format!("`{}` is missing: {reason}", name.unwrap_or_default()), None),
        };
        Error::new("invalid_message", text)
    }
}

impl fmt::Debug for Envelope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("route", &self.route)
            .field("id", &self.id())
            .field("payload", &self.payload())
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

/// The members at the top level of a message.
#[derive(Default)]
struct ParsedMembers<'a> {
    route: Option<Cow<'a, str>>,
    /// The id, if it is valid and occurs once.
    id: Option<&'a str>,
    has_id: bool,
    payload: Option<Piece>,
    /// The first reason why the message is not a request. It is reported only if the message is valid JSON.
    fault: Option<String>,
}

impl<'a> ParsedMembers<'a> {
    /// Reads the whole message, even after a fault, because the id may come last.
    fn read(&mut self, text: &'a str, syntax: Syntax) -> Result<(), Malformed> {
        let mut scanner = Scanner { text, at: 0 };
        scanner.skip_white_space();
        let start = scanner.at;
        if !scanner.skip(b'{') {
            self.record_fault(format_args!("not an object; {}", shape(syntax)));
            return Ok(());
        }
        scanner.skip_white_space();
        if !scanner.skip(b'}') {
            self.read_members(&mut scanner, syntax)?;
        }
        if syntax.payload().is_none() {
            self.payload = Some(scanner.piece_from(start));
        }
        if scanner.is_at_end() { Ok(()) } else { Err(Malformed) }
    }

    /// Reads members, and the bracket after the last one.
    fn read_members(&mut self, scanner: &mut Scanner<'a>, syntax: Syntax) -> Result<(), Malformed> {
        loop {
            scanner.skip_white_space();
            let name = scanner.string()?;
            scanner.skip_white_space();
            scanner.expect(b':')?;
            scanner.skip_white_space();
            let value = scanner.value()?;
            self.add(scanner.text, name, value, syntax)?;
            if !scanner.skip_comma()? {
                return Ok(());
            }
        }
    }

    fn add(&mut self, text: &'a str, name: Piece, value: Piece, syntax: Syntax) -> Result<(), Malformed> {
        let is = |member| name.is(text, member);
        if is(syntax.key()) {
            self.set_route(text, name.at, value, syntax);
            Ok(())
        } else if syntax.payload().is_some_and(is) {
            if self.payload.replace(value).is_some() {
                self.record_repetition(syntax.payload().unwrap_or_default(), name.at);
            }
            Ok(())
        } else if is(ID) {
            self.set_id(text, name.at, value)
        } else {
            // The name may have an invalid escape. Half of a surrogate pair is valid JSON but matches no member. In a
            // flat syntax the value belongs to the payload and is checked with the payload.
            let is_valid = is_json(name.raw(text)) && (syntax.payload().is_none() || is_json(value.raw(text)));
            if is_valid { Ok(()) } else { Err(Malformed) }
        }
    }

    fn set_route(&mut self, text: &'a str, name_at: usize, value: Piece, syntax: Syntax) {
        let (key, at) = (syntax.key(), value.at);
        if self.route.is_some() {
            self.record_repetition(key, name_at);
        } else if text.as_bytes().get(at) != Some(&b'"') {
            self.record_fault(format_args!("`{key}` at byte {at} is not a string; {}", shape(syntax)));
        } else if let Some(route) = value.text(text) {
            self.route = Some(route);
        } else {
            self.record_fault(format_args!("`{key}` at byte {at} has half of a surrogate pair; send both halves"));
        }
    }

    fn set_id(&mut self, text: &'a str, name_at: usize, value: Piece) -> Result<(), Malformed> {
        let (at, raw) = (value.at, value.raw(text));
        if self.has_id {
            self.id = None;
            self.record_repetition(ID, name_at);
        } else if !matches!(raw.as_bytes(), [b'"' | b'-' | b'0'..=b'9', ..]) {
            self.record_fault(format_args!(
                "`{ID}` at byte {at} is neither a number nor a string; send one of them, or leave `{ID}` out"
            ));
        } else if raw.len() > MAX_ID_LEN {
            self.record_fault(format_args!("`{ID}` at byte {at} is too long; send at most {MAX_ID_LEN} bytes"));
        } else if is_json(raw) {
            self.id = Some(raw);
        } else {
            return Err(Malformed);
        }
        self.has_id = true;
        Ok(())
    }

    /// Records a fault, unless an earlier one was recorded.
    #[cold]
    fn record_fault(&mut self, fault: fmt::Arguments<'_>) {
        self.fault.get_or_insert_with(|| fault.to_string());
    }

    fn record_repetition(&mut self, name: &str, at: usize) {
        self.record_fault(format_args!("`{name}` is given twice, again at byte {at}; send it once"));
    }

    /// Returns the error of a message that is not a request. Invalid JSON takes precedence over every other fault.
    #[cold]
    fn reject(self, text: &str, syntax: Syntax) -> Rejected<'a> {
        if !is_json(text) {
            return Rejected { error: not_json(text), id: None };
        }
        let missing = || format!("`{}` is missing; {}", syntax.key(), shape(syntax));
        let fault = self.fault.unwrap_or_else(missing);
        Rejected { error: Error::new("bad_request", locate(&fault, None)), id: self.id }
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde::de::{MapAccess, Visitor};
    use serde_json::value::RawValue;

    use super::{error_text::MAX_LEN, *};

    const FLAT: Syntax = Syntax::flat("method");

    #[derive(Debug, Deserialize, PartialEq)]
    struct Chat {
        greeting: String,
    }

    #[derive(Debug, Deserialize)]
    struct Borrowing<'a> {
        plain: &'a str,
        #[serde(borrow)]
        other: Cow<'a, str>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Stance {
        Crouching,
    }

    fn parse(text: &str) -> Envelope<'_> {
        Envelope::parse(text, Syntax::DEFAULT).unwrap_or_else(|rejected| panic!("{text}: {rejected:?}"))
    }

    fn reject(text: &str, syntax: Syntax) -> (String, Option<&str>) {
        match Envelope::parse(text, syntax) {
            Ok(envelope) => panic!("{text}: {envelope:?}"),
            Err(Rejected { error, id }) => {
                assert_eq!(error.code(), "bad_request", "{text}");
                assert!(error.message().len() <= MAX_LEN, "{text}");
                (error.message().to_owned(), id)
            }
        }
    }

    #[test]
    fn requests_are_parsed_in_every_form() {
        let long_id = format!("\"{}\"", "x".repeat(MAX_ID_LEN - 2));
        let with_long_id = format!(r#"{{"method":"m","id":{long_id}}}"#);
        for (text, route, id, payload) in [
            (r#"{"method":"m","message":{"a":1}}"#, "m", None, r#"{"a":1}"#),
            (r#"{"message":[1,"]",{}],"id":7,"method":"m"}"#, "m", Some("7"), r#"[1,"]",{}]"#),
            (r#"{"id":"a1","method":"m"}"#, "m", Some(r#""a1""#), "null"),
            (r#"{"id":"","method":"m"}"#, "m", Some(r#""""#), "null"),
            (r#"{"id":-1.50e+7,"method":"m"}"#, "m", Some("-1.50e+7"), "null"),
            (r#"{"id":1e999,"method":"m"}"#, "m", Some("1e999"), "null"),
            (r#"{"id":"\ud800\"","method":"m"}"#, "m", Some(r#""\ud800\"""#), "null"),
            (&with_long_id, "m", Some(&long_id), "null"),
            (r#"{"method":"m","message":null}"#, "m", None, "null"),
            (r#"{"method":"m","message":"\"}\\"}"#, "m", None, r#""\"}\\""#),
            (r#"{"method":"m","message":-0.5}"#, "m", None, "-0.5"),
            (r#"{"method":"","message":{}}"#, "", None, "{}"),
            (r#"{"method":"jäger 🦌"}"#, "jäger 🦌", None, "null"),
            (r#"{"method":"\u006d\n\"\ud83e\udd8c"}"#, "m\n\"🦌", None, "null"),
            (r#"{"m\u0065thod":"m","\u006dessage":1,"i\u0064":2}"#, "m", Some("2"), "1"),
            (" \t\r\n{ \"method\"\n:\t\"m\" , \"message\" : { } , \"id\" : 1 }\n ", "m", Some("1"), "{ }"),
            (r#"{"method":"m","other":[{"method":1}],"Method":2,"":3}"#, "m", None, "null"),
            (r#"{"\ud800":1,"method":"m","x":"\ud800"}"#, "m", None, "null"),
            (r#"{"methods":1,"metho":2,"method":"m"}"#, "m", None, "null"),
        ] {
            let envelope = parse(text);
            assert_eq!((envelope.route(), envelope.id(), envelope.payload()), (route, id, payload), "{text}");
            assert_eq!(envelope.size(), text.len());
            envelope.check().unwrap();
        }
    }

    #[test]
    fn other_syntaxes_are_parsed() {
        let syntax = Syntax::new("op", "d");
        assert_eq!((syntax.key(), syntax.payload()), ("op", Some("d")));
        let envelope = Envelope::parse(r#"{"op":"x","d":1,"method":2,"message":3}"#, syntax).unwrap();
        assert_eq!((envelope.route(), envelope.payload()), ("x", "1"));

        assert_eq!((FLAT.key(), FLAT.payload()), ("method", None));
        let text = " {\"greeting\":\"hey\",\"message\":1,\"message\":2,\"method\":\"m\",\"id\":3} ";
        let envelope = Envelope::parse(text, FLAT).unwrap();
        assert_eq!((envelope.route(), envelope.id(), envelope.payload()), ("m", Some("3"), text.trim()));
        assert_eq!(envelope.message::<Chat>().unwrap(), Chat { greeting: "hey".into() });
    }

    #[test]
    fn invalid_json_is_rejected_without_an_id() {
        for (text, message) in [
            ("", "not JSON: EOF while parsing a value at byte 0"),
            ("   ", "not JSON: EOF while parsing a value at byte 3"),
            ("\u{feff}{\"method\":\"m\"}", "not JSON: a byte order mark at byte 0; send the text without it"),
            ("p", "not JSON: expected value at byte 0"),
            (r#"{"id":1,"method" "m"}"#, "not JSON: expected `:` at byte 17"),
            ("{\"id\":1,\n\n\"method\" \"m\"}", "not JSON: expected `:` at byte 19"),
            (r#"{"id":1,"method":"m"} x"#, "not JSON: trailing characters at byte 22"),
            (r#"{"id":1,"method":"m"}{}"#, "not JSON: trailing characters at byte 21"),
            (r#"{"id":1,"method":"m""#, "not JSON: EOF while parsing an object at byte 20"),
            (r#"{"id":1,"method":"m"#, "not JSON: EOF while parsing a string at byte 19"),
            (r#"{"id":1,"method":"m","#, "not JSON: EOF while parsing an object at byte 21"),
            (r#"{"id":1,"method":"m\"#, "not JSON: EOF while parsing a string at byte 20"),
            (r#"{"id":1,"method":"m","message":[{}"#, "not JSON: EOF while parsing a list at byte 34"),
            (r#"{"id":1,"method":"m",}"#, "not JSON: key must be a string at byte 21"),
            (r#"{"id":1 "method":"m"}"#, "not JSON: expected `,` or `}` at byte 8"),
            (r#"{"id":1,"method":"m","message":}"#, "not JSON: expected value at byte 31"),
            (r#"{"id":01,"method":"m"}"#, "not JSON: invalid number at byte 7"),
            (r#"{"id":1,"method":"m","x":tru}"#, "not JSON: expected ident at byte 28"),
            (r#"{"id":1,"method":"\x"}"#, "not JSON: invalid escape at byte 19"),
            (r#"{"id":1,"\x":1,"method":"m"}"#, "not JSON: invalid escape at byte 10"),
            // Invalid JSON takes precedence over an earlier fault.
            (r#"{"id":1,"method":2,"message":[}"#, "not JSON: expected value at byte 30"),
            (r#"{"id":1,"message":1,"message":[}}"#, "not JSON: expected value at byte 31"),
            (r"[1,2", "not JSON: EOF while parsing a list at byte 4"),
        ] {
            assert_eq!(reject(text, Syntax::DEFAULT), (message.to_owned(), None), "{text}");
        }
        for text in ["{\"method\":\"a\nb\"}", "{\"me\tthod\":1,\"method\":\"m\"}", "{\"method\":\"m\",\"id\":\"\0\"}"] {
            let (message, id) = reject(text, Syntax::DEFAULT);
            assert!(message.starts_with("not JSON: control character"), "{message}");
            assert_eq!(id, None);
        }
    }

    #[test]
    fn json_that_is_not_a_request_is_rejected_with_its_id() {
        let shape = r#"a request is {"method": "…", "message": …}"#;
        let too_long = format!(r#"{{"method":"m","id":"{}"}}"#, "x".repeat(MAX_ID_LEN - 1));
        for (text, message, id) in [
            ("[1]", format!("not an object; {shape}"), None),
            (" \"p\" ", format!("not an object; {shape}"), None),
            ("{}", format!("`method` is missing; {shape}"), None),
            (r#"{"message":1,"id":7}"#, format!("`method` is missing; {shape}"), Some("7")),
            (r#"{"method":7,"id":7}"#, format!("`method` at byte 10 is not a string; {shape}"), Some("7")),
            (r#"{"method":null,"id":7}"#, format!("`method` at byte 10 is not a string; {shape}"), Some("7")),
            (
                r#"{"id":7,"method":"a","method":"a"}"#,
                "`method` is given twice, again at byte 21; send it once".to_owned(),
                Some("7"),
            ),
            (
                r#"{"\u006dethod":"a","method":"a"}"#,
                "`method` is given twice, again at byte 19; send it once".to_owned(),
                None,
            ),
            (
                r#"{"message":1,"message":1,"method":"m","id":"x"}"#,
                "`message` is given twice, again at byte 13; send it once".to_owned(),
                Some(r#""x""#),
            ),
            (r#"{"id":7,"method":"m","id":7}"#, "`id` is given twice, again at byte 21; send it once".to_owned(), None),
            (r#"{"method":1,"id":7,"id":7}"#, format!("`method` at byte 10 is not a string; {shape}"), None),
            (r#"{"method":1,"id":[],"id":7}"#, format!("`method` at byte 10 is not a string; {shape}"), None),
            (
                r#"{"method":"\ud800","id":7}"#,
                "`method` at byte 10 has half of a surrogate pair; send both halves".to_owned(),
                Some("7"),
            ),
            (&too_long, "`id` at byte 19 is too long; send at most 64 bytes".to_owned(), None),
        ] {
            assert_eq!(reject(text, Syntax::DEFAULT), (message, id), "{text}");
        }
        for id in ["null", "true", "false", "{}", "[]", "[1]"] {
            let text = format!(r#"{{"method":"m","id":{id}}}"#);
            let message = "`id` at byte 19 is neither a number nor a string; send one of them, or leave `id` out";
            assert_eq!(reject(&text, Syntax::DEFAULT), (message.to_owned(), None));
        }
        let (message, id) = reject(r#"{"greeting":1,"id":7}"#, FLAT);
        assert_eq!((message.as_str(), id), (r#"`method` is missing; a request is {"method": "…", …}"#, Some("7")));
    }

    #[test]
    fn errors_in_payloads_have_positions() {
        let chat = parse(r#"{"method":"m","message":{"greeting":"hey"}}"#).message::<Chat>().unwrap();
        assert_eq!(chat, Chat { greeting: "hey".into() });
        parse(r#"{"method":"m"}"#).message::<()>().unwrap();
        assert_eq!(parse(r#"{"method":"m"}"#).message::<Option<Chat>>().unwrap(), None);

        for (text, code, message) in [
            (r#"{"method":"m"}"#, "invalid_message", "`message` is missing: invalid type: null, expected struct Chat"),
            (
                r#"{"method":"m","message":null}"#,
                "invalid_message",
                "invalid type: null, expected struct Chat at byte 27",
            ),
            (r#"{"method":"m","message":{}}"#, "invalid_message", "missing field `greeting` at byte 25"),
            (
                "{\"method\":\"m\",\"message\":{\n\n\"greeting\":7}}",
                "invalid_message",
                "invalid type: integer `7`, expected a string at byte 38",
            ),
            (
                r#"{"method":"m","message":{"greeting":"\ud800"}}"#,
                "invalid_message",
                "unexpected end of hex escape at byte 43",
            ),
            (
                r#"{"method":"m","message":{"greeting":"a" 1}}"#,
                "bad_request",
                "not JSON: expected `,` or `}` at byte 40",
            ),
            (r#"{"method":"m","message":{"greeting":7,}}"#, "bad_request", "not JSON: key must be a string at byte 38"),
            (r#"{"method":"m","message":{]}"#, "bad_request", "not JSON: key must be a string at byte 25"),
            (r#"{"method":"m","message":1x}"#, "bad_request", "not JSON: expected `,` or `}` at byte 25"),
        ] {
            let envelope = parse(text);
            let error = envelope.message::<Chat>().unwrap_err();
            assert_eq!((error.code(), error.message()), (code, message), "{text}");
            let checked = envelope.check().map_err(|rejected| rejected.error.message().to_owned());
            assert_eq!(checked, if code == "bad_request" { Err(message.to_owned()) } else { Ok(None) });
        }
        let flat = Envelope::parse(r#" {"method":"m","greeting":7}"#, FLAT).unwrap();
        let error = flat.message::<Chat>().unwrap_err();
        assert_eq!(error.message(), "invalid type: integer `7`, expected a string at byte 26");
        let flat = Envelope::parse(r#"{"method":"m","x":tru}"#, FLAT).unwrap();
        assert_eq!(flat.message::<Chat>().unwrap_err().code(), "bad_request");
    }

    #[test]
    fn positions_of_custom_errors_stay_inside_the_message() {
        #[derive(Debug)]
        struct Inner;
        impl<'de> Deserialize<'de> for Inner {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <&str>::deserialize(deserializer)?;
                Err(serde::de::Error::custom("oh no at line 900 column 18446744073709551615"))
            }
        }
        let error = parse(r#"{"method":"m","message":"x"}"#).message::<Inner>().unwrap_err();
        assert_eq!(error.message(), "oh no at byte 27");
    }

    #[test]
    fn payloads_borrow_from_the_message() {
        let text = String::from(r#"{"method":"m","message":{"plain":"a","other":"b"}}"#);
        let within = |part: &str| text.as_bytes().as_ptr_range().contains(&part.as_ptr());
        let message = {
            let envelope = parse(&text);
            assert!(within(envelope.route()));
            envelope.message::<Borrowing<'_>>().unwrap()
        };
        assert!(within(message.plain));
        assert!(matches!(message.other, Cow::Borrowed("b")));
    }

    #[test]
    fn quoted_text_is_truncated_at_a_character() {
        for shift in 0..4 {
            let name = "x".repeat(shift) + &"🦌".repeat(200);
            let text = format!(r#"{{"method":"{name}","message":"{name}"}}"#);
            let envelope = parse(&text);
            let error = envelope.unknown_method();
            assert_eq!(error.code(), "unknown_method");
            let quoted = error.message().split('`').nth(1).unwrap();
            assert!((MAX_QUOTE_LEN - 3..=MAX_QUOTE_LEN).contains(&quoted.len()), "{quoted}");
            assert!(name.starts_with(quoted.strip_suffix('…').unwrap()));

            let error = envelope.message::<Stance>().unwrap_err();
            assert_eq!(error.code(), "invalid_message");
            assert!((MAX_LEN - 3..=MAX_LEN).contains(&error.message().len()), "{error}");
            assert!(error.message().starts_with("unknown variant `"));
            let at = format!("… at byte {}", text.len() - 2);
            assert!(error.message().ends_with(&at), "{error}");
        }
        assert_eq!(parse(r#"{"method":"chta"}"#).unknown_method().message(), "no route is named `chta`");
        assert!(matches!(parse(r#"{"method":"m","message":"crouching"}"#).message(), Ok(Stance::Crouching)));
        let key: &'static str = "k".repeat(1_000).leak();
        assert!(reject("{}", Syntax::flat(key)).0.ends_with("k…"));
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let deep = "[".repeat(5_000) + &"]".repeat(5_000);
        reject(&deep, Syntax::DEFAULT);
        reject(&"[".repeat(5_000), Syntax::DEFAULT);
        for open in ["[", "{\"a\":"] {
            let endless = format!(r#"{{"method":"m","message":{}"#, open.repeat(5_000));
            assert!(reject(&endless, Syntax::DEFAULT).0.starts_with("not JSON: EOF"));
        }
        assert_eq!(reject(&format!(r#"{{"method":"m","id":{deep}}}"#), Syntax::DEFAULT).1, None);
        assert_eq!(reject(&format!(r#"{{"id":1,"method":{deep}}}"#), Syntax::DEFAULT).1, Some("1"));

        let unknown = format!(r#"{{"method":"m","x":{deep},"id":1}}"#);
        assert_eq!(parse(&unknown).id(), Some("1"));
        let payload = format!(r#"{{"method":"m","message":{deep},"id":1}}"#);
        let envelope = parse(&payload);
        assert_eq!((envelope.id(), envelope.payload()), (Some("1"), deep.as_str()));
        envelope.check().unwrap();
        for syntax in [Syntax::DEFAULT, FLAT] {
            let envelope = Envelope::parse(&payload, syntax).unwrap();
            let error = envelope.message::<serde_json::Value>().unwrap_err();
            assert_eq!(error.code(), "invalid_message");
            assert!(error.message().starts_with("recursion limit exceeded at byte 15"), "{error}");
        }
    }

    /// The result of parsing a message.
    #[derive(Debug, PartialEq)]
    enum Outcome {
        NotJson,
        NoRequest { id: Option<String> },
        Request { route: String, id: Option<String>, payload: String },
    }

    fn outcome(text: &str, syntax: Syntax) -> Outcome {
        match Envelope::parse(text, syntax) {
            Ok(envelope) => match envelope.check() {
                Ok(id) => {
                    assert_eq!(id, envelope.id(), "{text}");
                    Outcome::Request {
                        route: envelope.route().to_owned(),
                        id: id.map(str::to_owned),
                        payload: envelope.payload().to_owned(),
                    }
                }
                Err(Rejected { error, .. }) => {
                    assert!(error.message().starts_with("not JSON: "), "{text}: {error}");
                    Outcome::NotJson
                }
            },
            Err(Rejected { error, id: None }) if error.message().starts_with("not JSON") => {
                assert!(error.message().starts_with("not JSON: "), "{text}: {error}");
                Outcome::NotJson
            }
            Err(Rejected { id, .. }) => Outcome::NoRequest { id: id.map(str::to_owned) },
        }
    }

    /// The members of an object, not decoded.
    struct RawMembers<'a>(Vec<(&'a RawValue, &'a RawValue)>);

    impl<'de> Deserialize<'de> for RawMembers<'de> {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Collect;
            impl<'de> Visitor<'de> for Collect {
                type Value = RawMembers<'de>;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                    let mut members = Vec::new();
                    while let Some(member) = map.next_entry()? {
                        members.push(member);
                    }
                    Ok(RawMembers(members))
                }
            }
            deserializer.deserialize_map(Collect)
        }
    }

    /// Parses a message with serde alone, and applies the rules of an envelope one by one.
    fn reference(text: &str, syntax: Syntax) -> Outcome {
        if serde_json::from_str::<IgnoredAny>(text).is_err() {
            return Outcome::NotJson;
        }
        let Ok(RawMembers(members)) = serde_json::from_str(text) else {
            return Outcome::NoRequest { id: None };
        };
        let mut values = HashMap::<String, Vec<&str>>::new();
        for (name, value) in members {
            if let Ok(name) = serde_json::from_str(name.get()) {
                values.entry(name).or_default().push(value.get());
            }
        }
        let mut given = |name: &str| values.remove(name).unwrap_or_default();
        let good_id = |id: &str| id.len() <= 64 && !id.starts_with(['{', '[', 't', 'f', 'n']);
        let (id, id_is_bad) = match given("id")[..] {
            [] => (None, false),
            [id] if good_id(id) => (Some(id.to_owned()), false),
            _ => (None, true),
        };
        let route = match given(syntax.key())[..] {
            [route] => serde_json::from_str::<String>(route).ok(),
            _ => None,
        };
        let payload = match syntax.payload().map(given) {
            None => Some(text.trim()),
            Some(payloads) if payloads.len() > 1 => None,
            Some(payloads) => Some(payloads.first().copied().unwrap_or("null")),
        };
        match (route, payload) {
            (Some(route), Some(payload)) if !id_is_bad => Outcome::Request { route, id, payload: payload.to_owned() },
            _ => Outcome::NoRequest { id },
        }
    }

    /// A random number generator: `SplitMix64` (Steele, Lea and Flood, 2014).
    pub(super) struct Random(pub(super) u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut bits = self.0;
            bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            usize::try_from((bits ^ (bits >> 31)) >> 33).unwrap() % limit
        }

        pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
            from[self.below(from.len())]
        }

        fn white_space(&mut self, text: &mut String) {
            text.push_str(self.pick(&["", "", "", "", "", " ", "\n", "\t\r ", "          "]));
        }

        fn value(&mut self, text: &mut String, depth: usize) {
            let kinds = if depth == 0 { 3 } else { 5 };
            match self.below(kinds) {
                0 => {
                    text.push_str(self.pick(&["0", "-1", "12.5", "1e9", "-0.0E-3", "null", "true", "false"]));
                }
                1 => text.push_str(self.pick(&[
                    r#""""#,
                    r#""a""#,
                    r#""chat""#,
                    r#""é🦌""#,
                    r#""\"""#,
                    r#""\\""#,
                    r#""\\\"]}""#,
                    r#""[{""#,
                    r#""\u00e9\n""#,
                    r#""\ud800""#,
                    r#""\ud83e\udd8c""#,
                    r#""{\"a\":[1]}""#,
                    r#""Y_y""#,
                ])),
                2 => {
                    text.push('"');
                    for _ in 0..self.below(80) {
                        text.push_str(self.pick(&["a", "b", "}", "]", "{", ",", "\\\\", "\\\"", "\\u0041", "ü"]));
                    }
                    text.push('"');
                }
                3 => self.list(text, '[', ']', |random, text| random.value(text, depth - 1)),
                _ => self.list(text, '{', '}', |random, text| {
                    text.push_str(random.pick(&[r#""a""#, r#""method""#, r#""\"}""#, r#""""#]));
                    text.push(':');
                    random.value(text, depth - 1);
                }),
            }
        }

        fn list(&mut self, text: &mut String, open: char, close: char, mut item: impl FnMut(&mut Self, &mut String)) {
            text.push(open);
            self.white_space(text);
            for index in 0..self.below(4) {
                if index > 0 {
                    text.push(',');
                    self.white_space(text);
                }
                item(self, text);
                self.white_space(text);
            }
            text.push(close);
        }

        fn member(&mut self, text: &mut String, name: &str) {
            text.push_str(name);
            self.white_space(text);
            text.push(':');
            self.white_space(text);
            match name {
                r#""method""# if self.below(8) > 0 => {
                    text.push_str(self.pick(&[r#""chat""#, r#""m\u006fve""#]));
                }
                r#""id""# if self.below(4) > 0 => {
                    text.push_str(self.pick(&["7", r#""a1""#, "-3.5", r#""\"""#]));
                }
                _ => self.value(text, 3),
            }
        }

        /// Generates a message: mostly a request, sometimes with a member missing, repeated or of the wrong type.
        fn message(&mut self) -> String {
            let mut names = vec![r#""method""#, r#""message""#];
            for _ in 0..self.below(3) {
                names.push(self.pick(&[
                    r#""id""#,
                    r#""id""#,
                    r#""id""#,
                    r#""other""#,
                    r#""a long name of no meaning""#,
                    r#""\ud800""#,
                    r#""messag\u0065""#,
                    r#""\u006dethod""#,
                    r#""i\u0064""#,
                    r#""method""#,
                    r#""message""#,
                ]));
            }
            if self.below(10) == 0 {
                names.swap_remove(self.below(2));
            }
            for index in (1..names.len()).rev() {
                names.swap(index, self.below(index + 1));
            }
            let mut text = String::new();
            self.white_space(&mut text);
            text.push('{');
            self.white_space(&mut text);
            for (index, name) in names.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                    self.white_space(&mut text);
                }
                self.member(&mut text, name);
                self.white_space(&mut text);
            }
            text.push('}');
            self.white_space(&mut text);
            text
        }

        /// Removes, repeats, changes or inserts bytes. Returns `None` if the result is not UTF-8, which the socket
        /// rejects.
        fn mutated(&mut self, text: &str) -> Option<String> {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..=self.below(2) {
                let at = self.below(bytes.len());
                let byte = self.pick(b"\"\"\\\\{}[],::  \n\0\x1f10-.eEtfnum/xY_y\x7f");
                match self.below(4) {
                    0 => drop(bytes.remove(at)),
                    1 => bytes.insert(at, bytes[at]),
                    2 => bytes[at] = byte,
                    _ => bytes.insert(at, byte),
                }
            }
            String::from_utf8(bytes).ok()
        }
    }

    #[test]
    fn random_messages_are_parsed_as_by_serde() {
        let mut random = Random(7);
        let mut seen = [0; 3];
        for _ in 0..42_000 {
            let message = random.message();
            let mutated = (0..4).filter_map(|_| random.mutated(&message)).collect::<Vec<_>>();
            for text in mutated.iter().chain([&message]) {
                let syntax = random.pick(&[Syntax::DEFAULT, Syntax::DEFAULT, FLAT]);
                let expected = reference(text, syntax);
                seen[match expected {
                    Outcome::NotJson => 0,
                    Outcome::NoRequest { .. } => 1,
                    Outcome::Request { .. } => 2,
                }] += 1;
                assert_eq!(outcome(text, syntax), expected, "{text}");
            }
        }
        // The test is meaningful only if every outcome is frequent.
        assert!(seen.iter().sum::<usize>() >= 200_000 && seen.iter().all(|count| *count > 20_000), "{seen:?}");
    }

    #[test]
    fn the_rest_of_a_message_is_read_as_by_parsing_it_at_once() {
        const STARTS: [&str; 5] = [
            r#"{"method":"m","message":"#,
            r#"{"id":7,"method":"m","message":"#,
            r#"{"id":0,"method":"","message":"#,
            r#"{"id":07,"method":"m","message":"#,
            r#"{"id":12345678901234567890,"method":"m","message":"#,
        ];
        const ENDS: [&str; 14] = [
            "}",
            " }",
            "}\n",
            r#","id":8}"#,
            r#","id":8,"x":{}}"#,
            r#","x":{"id":9}}"#,
            r#","id":{}}"#,
            r#","message":1}"#,
            r#","method":"n"}"#,
            r#","\u0069d":8}"#,
            r#","x":"\u12"}"#,
            ",}",
            "}}",
            "",
        ];
        let mut random = Random(8);
        let (mut unread, mut requests) = (0, 0);
        for _ in 0..20_000 {
            let mut message = random.pick(&STARTS).to_owned();
            random.value(&mut message, 2);
            message.push_str(random.pick(&ENDS));
            let mutated = random.mutated(&message);
            for text in mutated.iter().chain([&message]) {
                let started = Envelope::parse_start(text, Syntax::DEFAULT);
                unread += usize::from(started.as_ref().is_ok_and(|envelope| envelope.has_unread));
                let decoded = match &started {
                    Ok(envelope) => envelope.decode::<IgnoredAny>().map(|(_, id)| (id, envelope)),
                    Err(rejected) => Err(Error::new("bad_request", rejected.error.message().to_owned())),
                };
                let whole = Envelope::parse(text, Syntax::DEFAULT).and_then(|whole| whole.check().map(|_| whole));
                match (decoded, whole) {
                    (Ok((id, envelope)), Ok(whole)) => {
                        requests += 1;
                        assert_eq!((id, envelope.id()), (whole.id, whole.id), "{text}");
                        assert_eq!((envelope.route(), envelope.payload()), (whole.route(), whole.payload), "{text}");
                        assert_eq!(envelope.check().unwrap(), whole.id, "{text}");
                    }
                    (Err(error), Err(rejected)) => {
                        assert_eq!(error.message(), rejected.error.message(), "{text}");
                        let checked = started.and_then(|envelope| envelope.check()).unwrap_err();
                        assert_eq!(checked.id, rejected.id, "{text}");
                    }
                    (decoded, whole) => panic!("{text}: {decoded:?}, but {whole:?}"),
                }
            }
        }
        assert!(unread > 10_000 && requests > 5_000, "{unread} {requests}");
    }
}
