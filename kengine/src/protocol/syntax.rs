//! Which members of a message hold the route key and the payload.

/// Which members of a message hold the route key and the payload, set by `#[dispatcher(key = …, payload = …, flat)]`.
///
/// The member `id` is reserved for the request's id, so neither of them should be named `id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syntax {
    key: &'static str,
    /// `None` if the syntax is flat, with the payload's fields beside the key.
    payload: Option<&'static str>,
    /// Whether JSON writes both names without escapes.
    is_plain: bool,
}

impl Syntax {
    /// `{"method": "…", "message": …}`.
    pub const DEFAULT: Self = Self::new("method", "message");

    /// The syntax of a dispatcher block that has errors. It matches any other syntax. No valid syntax has an empty key.
    #[doc(hidden)]
    pub const UNKNOWN: Self = Self::flat("");

    /// Creates a syntax with the route's name in the member `key` and the payload in the member `payload`.
    pub const fn new(key: &'static str, payload: &'static str) -> Self {
        Self { key, payload: Some(payload), is_plain: is_plain(key) && is_plain(payload) }
    }

    /// Creates a syntax with the route's name in the member `key` and the payload's fields beside it.
    pub const fn flat(key: &'static str) -> Self {
        Self { key, payload: None, is_plain: is_plain(key) }
    }

    /// Returns the member that holds the route's name.
    pub const fn key(&self) -> &'static str {
        self.key
    }

    /// Whether JSON writes both names without escapes.
    pub(crate) const fn is_plain(self) -> bool {
        self.is_plain
    }

    /// Returns the member that holds the payload; `None` if the syntax is flat, with the payload's fields beside the
    /// key.
    pub const fn payload(&self) -> Option<&'static str> {
        self.payload
    }
}

/// Whether JSON writes this string without escapes.
const fn is_plain(name: &str) -> bool {
    let mut at = 0;
    while at < name.len() {
        if matches!(name.as_bytes()[at], b'"' | b'\\' | ..b' ') {
            return false;
        }
        at += 1;
    }
    true
}
