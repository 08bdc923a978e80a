//! Builds the texts of errors about a message. They are bounded in length and give positions in bytes.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use crate::protocol::error::Error;
use crate::protocol::syntax::Syntax;

/// The maximum length of an error text, in bytes.
pub(super) const MAX_LEN: usize = 256;

/// Describes what a request looks like.
pub(super) fn shape(syntax: Syntax) -> String {
    let key = syntax.key();
    match syntax.payload() {
        Some(payload) => format!(r#"a request is {{"{key}": "…", "{payload}": …}}"#),
        None => format!(r#"a request is {{"{key}": "…", …}}"#),
    }
}

/// Returns the error for `text`, a message that is not JSON.
#[cold]
pub(super) fn not_json(text: &str) -> Error {
    let text = match serde_json::from_str::<IgnoredAny>(text) {
        _ if text.starts_with('\u{feff}') => {
            "not JSON: a byte order mark at byte 0; send the text without it".to_owned()
        }
        Err(error) => locate(&format!("not JSON: {}", reason(&error)), position(&error, text)),
        Ok(_) => "not JSON".to_owned(),
    };
    Error::new("bad_request", text)
}

/// Returns serde's message without its line and column, because errors give positions in bytes.
pub(super) fn reason(error: &serde_json::Error) -> String {
    let reason = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    reason.strip_suffix(&position).unwrap_or(&reason).to_owned()
}

/// Returns the position in `text` at which serde stopped, in bytes from 0, or `None` if it is unknown.
pub(super) fn position(error: &serde_json::Error, text: &str) -> Option<usize> {
    if error.is_eof() {
        return Some(text.len());
    }
    let lines_before = error.line().checked_sub(1)?;
    let line: usize = text.split_inclusive('\n').take(lines_before).map(str::len).sum();
    // Columns count from 1; column 0 is the end of the previous line. A user's type may report any position, even one
    // past the end of the text.
    Some(line.saturating_add(error.column()).saturating_sub(1).min(text.len()))
}

/// Appends a position to a reason, and truncates the reason so that both fit into [`MAX_LEN`].
pub(super) fn locate(reason: &str, position: Option<usize>) -> String {
    let position = position.map(|at| format!(" at byte {at}")).unwrap_or_default();
    format!("{}{position}", truncate(reason, MAX_LEN - position.len()))
}

/// Truncates a text that is longer than `max` bytes. The result ends with an ellipsis, and `max` includes the ellipsis.
pub(super) fn truncate(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max {
        return Cow::Borrowed(text);
    }
    let end = max.saturating_sub('…'.len_utf8());
    // A character has at most 4 bytes, so one of these four positions is the end of a character.
    let kept = (end.saturating_sub(3)..=end).rev().find_map(|end| text.get(..end)).unwrap_or_default();
    Cow::Owned(format!("{kept}…"))
}
