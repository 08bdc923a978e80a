//! How the query of a handshake is read. A gateway that reads names in the query must read them in the same way.

use std::borrow::Cow;

use hyper::Uri;
use percent_encoding::percent_decode_str;

use crate::http::refusal::Refusal;

/// Refuses a query that is not UTF-8 when it is decoded. Otherwise two different queries could give the same text.
pub(crate) fn check_query(uri: &Uri) -> Result<(), Refusal> {
    let query = uri.query().unwrap_or_default();
    if !query.contains('%') {
        return Ok(());
    }
    // The separators are ASCII, so each name and value is UTF-8 exactly if the whole is.
    match percent_decode_str(query).decode_utf8() {
        Ok(_) => Ok(()),
        Err(_) => Err(Refusal::bad_request("the query is not UTF-8 when it is decoded")),
    }
}

/// Returns the value of the first parameter with this name in a query that [`check_query`] has let through.
///
/// A query is read as `application/x-www-form-urlencoded` (WHATWG URL, section 5.1). In this order:
///
/// 1. The query is what follows the first `?` of the request target, up to a `#`. It is split at each `&`, and nowhere
///    else. Empty parts are skipped.
/// 2. Each part is split at its first `=` into a name and a value. A part without `=` is a name with an empty value.
/// 3. In names and values, each `+` becomes a space, and then each `%` with two hexadecimal digits in any case becomes
///    that byte. A `%` without two such digits stays as it is, and so does what follows it.
/// 4. A decoded name must equal `name` byte by byte: `UID` is not `uid`, and `%75id` is. The first such part counts,
///    even if its value is empty.
pub(super) fn parameter<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    form_urlencoded::parse(query.as_bytes()).find_map(|(key, value)| (key == name).then_some(value))
}

/// Returns the parameters of a client that wants to resume its session: `resume`, the token, and `received`. The second
/// is empty if it is missing.
pub(crate) fn resume_parameters(uri: &Uri) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    let query = uri.query()?;
    Some((parameter(query, "resume")?, parameter(query, "received").unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_parameter_of_a_name_is_decoded() {
        for (query, value) in [
            ("uid=a", Some("a")),
            ("x=1&uid=a&uid=b", Some("a")),
            ("uid=&uid=b", Some("")),
            ("uid&uid=b", Some("")),
            ("&&uid=a&", Some("a")),
            ("uid=a=b", Some("a=b")),
            ("uid=a;uid=b", Some("a;uid=b")),
            ("UID=a&uid=b", Some("b")),
            ("%75id=a", Some("a")),
            ("u+id=a", None),
            ("uid=a+b", Some("a b")),
            ("uid=a%2Bb", Some("a+b")),
            ("uid=a%2bb%26%3d", Some("a+b&=")),
            ("uid=a%20%C3%A9", Some("a é")),
            ("uid=é", Some("é")),
            ("uid=100%", Some("100%")),
            ("uid=%4", Some("%4")),
            ("uid=%zz%2", Some("%zz%2")),
            ("uid=%%41", Some("%A")),
            ("uid=%2541", Some("%41")),
            ("uid=%00", Some("\0")),
            ("uid=a?b", Some("a?b")),
            ("uid =a", None),
            ("", None),
        ] {
            assert_eq!(parameter(query, "uid").as_deref(), value, "{query}");
        }
    }
}
