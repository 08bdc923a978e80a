//! Which members of a message hold the route key and the payload.

/// Which members of a message hold the route key and the payload, set by `#[dispatcher(key = …, payload = …, flat)]`.
///
/// The member `id` is reserved for the request's id and should be neither of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syntax {
    key: &'static str,
    /// `None` if the payload's fields stand beside the key.
    payload: Option<&'static str>,
}

impl Syntax {
    /// `{"method": "…", "message": …}`.
    pub const DEFAULT: Self = Self::new("method", "message");

    /// The syntax of a block with faults, which matches any other. No valid syntax has an empty key.
    #[doc(hidden)]
    pub const UNKNOWN: Self = Self::flat("");

    /// Creates a syntax with the route's name in the member `key` and the payload in the member `payload`.
    pub const fn new(key: &'static str, payload: &'static str) -> Self {
        Self { key, payload: Some(payload) }
    }

    /// Creates a syntax with the route's name in the member `key` and the payload's fields beside it.
    pub const fn flat(key: &'static str) -> Self {
        Self { key, payload: None }
    }

    /// Returns the member that holds the route's name.
    pub const fn key(&self) -> &'static str {
        self.key
    }

    /// Returns the member that holds the payload; `None` if the payload's fields stand beside the key.
    pub const fn payload(&self) -> Option<&'static str> {
        self.payload
    }
}
