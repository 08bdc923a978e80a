//! Errors in the log.

use std::{error::Error as StdError, iter};

/// Returns an error and its causes, separated by colons, for a field of an event: `error = logged(&error)`.
///
/// The text may quote a client. Subscribers write an error and `%error` as they are, so a line feed in them would begin
/// a line that the client forges. They write a string in quotes, with control characters and those that change the
/// direction of text escaped, unless its field is named `message`. So all text that is not ours is a string in a field
/// of another name; `tests/tests/sources/events.rs` checks this.
pub(crate) fn logged(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    for cause in iter::successors(error.source(), |&cause| cause.source()) {
        let cause = cause.to_string();
        // Some errors repeat their cause themselves.
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
