//! The names of the keys: a contract with gateways and with whoever watches.

use std::fmt::Write;

/// The addresses of the nodes that take players, each once.
pub(super) const NODES: &str = "NODE_HOST_LIST";

/// The keys of one node in its cluster. That of its counter is its address.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) address: String,
    pub(super) load: String,
    pub(super) lease: String,
    pub(super) node: String,
    pub(super) reserved: String,
}

impl Keys {
    pub(super) fn new(prefix: &str, address: &str) -> Self {
        Self {
            address: address.to_owned(),
            load: format!("{{{prefix}}}:load"),
            lease: format!("{{{prefix}}}:lease"),
            node: format!("{{{prefix}}}:node:{address}"),
            reserved: format!("{{{prefix}}}:reserved:{address}"),
        }
    }
}

/// The key of a user.
pub(super) fn user(prefix: &str, uid: &str) -> String {
    format!("{prefix}:user:{}", Encoded(uid))
}

/// A name in which nothing means anything to Redis: letters, digits, `-`, `.`, `_` and `~` stand as they are, any other
/// byte as in a URL (RFC 3986, section 2.1).
pub(super) struct Encoded<'n>(pub(super) &'n str);

impl std::fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                f.write_char(char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_nothing_to_redis() {
        assert_eq!(user("kengine", "1001"), "kengine:user:1001");
        assert_eq!(user("k", "a {b}\u{e4}:%"), "k:user:a%20%7Bb%7D%C3%A4%3A%25");
        assert_eq!(Keys::new("k", "h:1").reserved, "{k}:reserved:h:1");
    }
}
