//! Short forms of what the server sends, for use in tables.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The longest message of an error, in bytes.
const LONGEST_MESSAGE: usize = 256;

/// Returns an answer in short. Ids and results are copied byte for byte:
///
/// | text | short |
/// |---|---|
/// | `{"id":7,"result":"hi"}` | `7: "hi"` |
/// | `{"id":7,"error":{"code":"timeout","message":"…"}}` | `7: error timeout` |
/// | `{"error":{"code":"timeout","message":"…"}}`, perhaps with the `method` | `error timeout` |
/// | anything else | itself |
pub fn summary(text: &str) -> String {
    let Ok(members) = serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(text) else {
        return text.to_owned();
    };
    let raw = |name| members.get(name).map(|value| value.get());
    match (members.len(), raw("id"), raw("result"), raw("error")) {
        (2, Some(id), Some(result), None) => format!("{id}: {result}"),
        (2, Some(id), None, Some(error)) => format!("{id}: {}", failure(error, true)),
        (1, None, None, Some(error)) => failure(error, false),
        _ => text.to_owned(),
    }
}

fn failure(raw: &str, has_id: bool) -> String {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Shown {
        code: String,
        message: String,
        /// The route, if there is no id.
        method: Option<String>,
    }
    match serde_json::from_str::<Shown>(raw) {
        Ok(Shown { method: Some(_), .. }) if has_id => format!("an error with an id and a method: {raw}"),
        Ok(Shown { code, message, .. }) if (1..=LONGEST_MESSAGE).contains(&message.len()) => {
            format!("error {code}")
        }
        Ok(Shown { code, message, .. }) => format!("error {code} with a message of {} bytes", message.len()),
        Err(_) => format!("an error of another form: {raw}"),
    }
}
