//! The messages in which both sides tell each other what they have. They are not counted.

use std::io::Write;
use std::time::Duration;

use fastwebsockets::OpCode;
use serde::{Deserialize, Serialize};

use crate::websocket::{Message, encoder};

/// The longest text that is an acknowledgement, in bytes: one with the largest count, and some white space.
const MAX_ACK_LEN: usize = 64;

/// What the server sends first on every connection of a client that can resume.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResumeAnswer {
    /// The token for the next time.
    pub(crate) token: String,
    /// Whether the session goes on. Absent if the client has not asked for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resumed: Option<bool>,
    /// How many messages of the client the server has received, if the session goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) received: Option<u64>,
    /// How long the client may stay away, in milliseconds.
    pub(crate) within: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resume<T> {
    resume: T,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ack {
    ack: u64,
}

impl ResumeAnswer {
    /// Returns the answer with which a session begins. `resumed` is false if the client wanted to resume another one.
    pub(crate) fn begun(token: String, resumed: Option<bool>, within: Duration) -> Self {
        Self { token, resumed, received: None, within: milliseconds(within) }
    }

    /// Returns the answer with which a session goes on.
    pub(crate) fn resumed(token: String, received: u64, within: Duration) -> Self {
        Self { token, resumed: Some(true), received: Some(received), within: milliseconds(within) }
    }

    /// Appends the answer as a frame.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        // Cannot fail: the members are strings and numbers, and memory is written.
        let _ =
            encoder::write_frame_with(out, OpCode::Text, |out| serde_json::to_writer(out, &Resume { resume: self }));
    }

    /// Reads the answer from a text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().map(|Resume { resume }| resume)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Appends an acknowledgement as a frame.
pub(crate) fn write_ack(out: &mut Vec<u8>, received: u64) {
    // Cannot fail: memory is written.
    let _ = encoder::write_frame_with(out, OpCode::Text, |out| write!(out, "{{\"ack\":{received}}}"));
}

/// Returns the count of an acknowledgement: a text with an object whose only member is `ack`. `None` if the message is
/// another one.
#[inline]
pub(crate) fn parse_ack(message: Message<'_>) -> Option<u64> {
    // Most messages are longer, or do not begin so.
    match message {
        Message::Text(text) if text.len() <= MAX_ACK_LEN && begins_as_ack(text) => {
            serde_json::from_str(text).ok().map(|Ack { ack }| ack)
        }
        _ => None,
    }
}

/// Whether the first member of an object is `ack`.
fn begins_as_ack(text: &str) -> bool {
    const WHITE_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];
    let members = text.trim_start_matches(WHITE_SPACE).strip_prefix('{');
    members.is_some_and(|members| members.trim_start_matches(WHITE_SPACE).starts_with("\"ack\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_an_object_with_one_member() {
        let ack = |text| parse_ack(Message::Text(text));
        assert_eq!(ack(r#"{"ack":0}"#), Some(0));
        assert_eq!(ack("{ \"ack\" : 18446744073709551615 }\n"), Some(u64::MAX));
        let long = format!("{{\"ack\":1{}}}", " ".repeat(MAX_ACK_LEN));
        for text in [
            r#"{"ack":-1}"#,
            r#"{"ack":1.5}"#,
            r#"{"ack":"1"}"#,
            r#"{"ack":1,"id":1}"#,
            r#"{"ack":1,"ack":2}"#,
            r#"{"ack":1"#,
            r#"["ack"]"#,
            "\"ack\"",
            &long,
        ] {
            assert_eq!(ack(text), None, "{text}");
        }
        assert_eq!(parse_ack(Message::Binary(br#"{"ack":1}"#)), None);
    }

    #[test]
    fn answers_have_the_members_of_their_kind() {
        let within = Duration::from_secs(30);
        let text = |answer: ResumeAnswer| {
            let mut frame = Vec::new();
            answer.write(&mut frame);
            let text = String::from_utf8(frame[2..].to_vec()).unwrap();
            assert_eq!(ResumeAnswer::parse(&text), Some(answer));
            text
        };
        assert_eq!(
            text(ResumeAnswer::begun("a".to_owned(), None, within)),
            r#"{"resume":{"token":"a","within":30000}}"#
        );
        assert_eq!(
            text(ResumeAnswer::begun("a".to_owned(), Some(false), within)),
            r#"{"resume":{"token":"a","resumed":false,"within":30000}}"#
        );
        assert_eq!(
            text(ResumeAnswer::resumed("a".to_owned(), 7, within)),
            r#"{"resume":{"token":"a","resumed":true,"received":7,"within":30000}}"#
        );
        for other in [r#"{"method":"resume"}"#, r#"{"resume":{"token":"a"}}"#, "q"] {
            assert_eq!(ResumeAnswer::parse(other), None, "{other}");
        }
    }
}
