//! The names of keys and channels in Redis. Gateways and monitoring tools depend on them.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The key of the list of nodes that take players. It contains each address once.
pub(super) const NODES: &str = "NODE_HOST_LIST";
/// How long gateways send players to the node of a room after its last player came through a gateway, by default.
pub(in crate::cluster) const DEFAULT_ROOM_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// The characters that are escaped in a name: all but the unreserved ones (RFC 3986, section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The keys of one node and its cluster. The key of the node's counter is its address.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) prefix: String,
    pub(super) address: String,
    pub(super) load: String,
    pub(super) lease: String,
    pub(super) node: String,
    pub(super) reserved: String,
    pub(super) versions: String,
}

impl Keys {
    pub(super) fn new(prefix: &str, address: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            address: address.to_owned(),
            load: format!("{{{prefix}}}:load"),
            lease: format!("{{{prefix}}}:lease"),
            node: format!("{{{prefix}}}:node:{address}"),
            reserved: format!("{{{prefix}}}:reserved:{address}"),
            versions: format!("{{{prefix}}}:versions"),
        }
    }

    /// Returns the key of a user.
    pub(super) fn user(&self, uid: &str) -> String {
        format!("{}:user:{}", self.prefix, escaped(uid))
    }

    /// Returns the key of the node that gateways prefer for a room.
    pub(super) fn room(&self, room: &str) -> String {
        format!("{}:room:{}", self.prefix, escaped(room))
    }

    /// Returns the key of a room's game loop.
    pub(super) fn game_loop(&self, room: &str) -> String {
        format!("{{{}}}:loop:{}", self.prefix, utf8_percent_encode(room, ESCAPED))
    }

    /// Returns the key of the messages of a session that is handed over: to the node with this boot id, under its
    /// number.
    pub(super) fn session(&self, boot: &str, number: u64) -> String {
        format!("{}:session:{boot}-{number}", self.prefix)
    }

    /// Returns the channel of the node with this boot id.
    pub(super) fn node_channel(&self, boot: &str) -> String {
        format!("{}:bus:node:{boot}", self.prefix)
    }

    /// Returns the channel of all nodes.
    pub(super) fn common_channel(&self) -> String {
        format!("{}:bus:all", self.prefix)
    }

    /// Returns the channel of the nodes that have members in a room.
    pub(super) fn room_channel(&self, room: &str) -> String {
        format!("{}:bus:room:{}", self.prefix, escaped(room))
    }
}

/// Returns a name without special characters.
pub(super) fn escaped(name: &str) -> String {
    utf8_percent_encode(name, ESCAPED).to_string()
}

/// Returns the name that [`escaped`] has escaped.
pub(super) fn unescaped(name: &str) -> String {
    percent_decode_str(name).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_special_characters() {
        let keys = Keys::new("k", "h:1");
        assert_eq!(keys.user("1001"), "k:user:1001");
        assert_eq!(keys.user("a {b}\u{e4}:%"), "k:user:a%20%7Bb%7D%C3%A4%3A%25");
        assert_eq!(keys.room_channel("a-b._~/\u{0}\u{7f}"), "k:bus:room:a-b._~%2F%00%7F");
        assert_eq!(keys.game_loop("a {b}"), "{k}:loop:a%20%7Bb%7D");
        assert_eq!(keys.reserved, "{k}:reserved:h:1");
        let room = "a {b}\u{e4}:%";
        assert_eq!(unescaped(&escaped(room)), room);
    }
}
