//! Requests, pushes and questions as JSON, from a client's point of view.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::protocol::{Push, Syntax};

/// Returns the text of a request in the dispatcher's syntax.
pub(super) fn compose_request(
    syntax: Syntax,
    route: &str,
    message: &(impl Serialize + ?Sized),
    id: Option<u64>,
) -> String {
    let invalid =
        |error: &serde_json::Error| -> ! { panic!("the message for `{route}` cannot be written as JSON: {error}") };
    let Some(member) = syntax.payload() else {
        let mut members = match serde_json::to_value(message).unwrap_or_else(|error| invalid(&error)) {
            Value::Object(members) => members,
            Value::Null => Map::new(),
            other => {
                panic!("the message for `{route}` must be an object, as the syntax is flat; it is {other}")
            }
        };
        members.insert(syntax.key().to_owned(), route.into());
        members.extend(id.map(|id| ("id".to_owned(), id.into())));
        return Value::Object(members).to_string();
    };
    let quoted = |text: &str| Value::from(text).to_string();
    let message = serde_json::to_string(message).unwrap_or_else(|error| invalid(&error));
    let id = id.map_or_else(String::new, |id| format!(r#","id":{id}"#));
    format!("{{{}:{},{}:{message}{id}}}", quoted(syntax.key()), quoted(route), quoted(member))
}

/// Returns the payload of a push with this name, unless it is a question.
pub(super) fn push_payload(syntax: Syntax, name: &str, text: &str) -> Option<Value> {
    payload(syntax, name, text).filter(|_| question_id(text).is_none())
}

/// Returns the payload and the id of a question with this name.
pub(super) fn question(syntax: Syntax, name: &str, text: &str) -> Option<(Value, u64)> {
    Some((payload(syntax, name, text)?, question_id(text)?))
}

/// Returns the id of a question; a push has none.
fn question_id(text: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Question {
        id: u64,
    }
    serde_json::from_str::<Question>(text).ok().map(|question| question.id)
}

/// Returns the payload of a push or question with this name.
fn payload(syntax: Syntax, name: &str, text: &str) -> Option<Value> {
    let mut members = serde_json::from_str::<Map<String, Value>>(text).ok()?;
    if members.remove(syntax.key())? != name {
        return None;
    }
    Some(match syntax.payload() {
        Some(member) => members.remove(member).unwrap_or_default(),
        None => Value::Object(members),
    })
}

/// Decodes the payload of a push.
pub(super) fn decode_push<P: Push + DeserializeOwned>(syntax: Syntax, payload: &Value, what: &str) -> P {
    if syntax.payload().is_none() && payload.as_object().is_some_and(Map::is_empty) {
        // In a flat syntax a push without fields looks the same whether it is `struct Tick;` or `struct Tick {}`.
        if let Ok(push) = P::deserialize(Value::Null) {
            return push;
        }
    }
    decode(payload, what)
}

/// Decodes a value as the type that the test expects.
pub(super) fn decode<T: DeserializeOwned>(value: &Value, what: &str) -> T {
    T::deserialize(value).unwrap_or_else(|error| {
        panic!("{what} cannot be read as `{}`: {error}; it is {value}", std::any::type_name::<T>())
    })
}
