//! Recognizes the start of most requests by comparing it, which is faster than parsing it.

use crate::protocol::syntax::Syntax;

/// The start of a request, up to its payload.
pub(super) struct UsualStart<'a> {
    pub(super) id: Option<&'a str>,
    pub(super) route: &'a str,
    /// The rest of the message, from the payload on.
    pub(super) rest: &'a str,
}

/// Recognizes a message that starts with `{"id":7,"method":"chat","message":`, with or without the id, as clients write
/// it without white space. The id is an integer without a sign, and the name of the route has no escape. Returns `None`
/// for every other message.
#[inline]
pub(super) fn usual_start(text: &str, syntax: Syntax) -> Option<UsualStart<'_>> {
    let payload = syntax.payload().filter(|_| syntax.is_plain())?;
    let rest = text.strip_prefix("{\"")?;
    let (id, rest) = match rest.strip_prefix("id\":") {
        Some(rest) => {
            let (id, rest) = split_integer(rest)?;
            (Some(id), rest.strip_prefix(",\"")?)
        }
        None => (None, rest),
    };
    let rest = rest.strip_prefix(syntax.key())?.strip_prefix("\":\"")?;
    let (route, rest) = split_before(rest, |byte| matches!(byte, b'"' | b'\\' | ..b' '))?;
    let rest = rest.strip_prefix("\",\"")?.strip_prefix(payload)?.strip_prefix("\":")?;
    Some(UsualStart { id, route, rest })
}

/// Splits off an integer of at most 19 digits, without a leading zero.
#[inline]
fn split_integer(text: &str) -> Option<(&str, &str)> {
    let (digits, rest) = split_before(text, |byte| !byte.is_ascii_digit())?;
    let is_valid = matches!(digits.as_bytes(), [b'1'..=b'9', ..] | [b'0']) && digits.len() < 20;
    is_valid.then_some((digits, rest))
}

/// Splits a text before the first byte for which `ends` holds, which must be ASCII.
#[inline]
fn split_before(text: &str, ends: impl Fn(u8) -> bool) -> Option<(&str, &str)> {
    text.split_at_checked(text.bytes().position(ends)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_json_writes_with_escapes_are_not_compared() {
        for (key, payload) in [("a\"b", "c"), ("a", "c\\d"), ("a\n", "c"), ("a", "c\"")] {
            let text = format!(r#"{{"{key}":"x","{payload}":1}}"#);
            assert!(usual_start(&text, Syntax::new(key, payload)).is_none(), "{text}");
        }
        let start = usual_start(r#"{"id":7,"a":"x","c":1}"#, Syntax::new("a", "c")).unwrap();
        assert_eq!((start.id, start.route, start.rest), (Some("7"), "x", "1}"));
    }
}
