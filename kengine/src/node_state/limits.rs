//! The limits of a node, with their defaults.

use std::{borrow::Cow, time::Duration};

use crate::node_state::bucket::RateLimit;
use crate::websocket::MessageLimits;

/// How many open files a node reserves for everything except players: its listeners, handshakes, pages, Redis, logs.
const RESERVED_FILES: u64 = 256;
/// How many of these files are not for players' sockets.
const OTHER_FILES: u64 = 64;
/// The size of the fragments, in bytes, in which the largest message may come by default.
const SMALL_FRAGMENT: usize = 64;
/// How many fragments a message may always have by default.
const DEFAULT_MIN_FRAGMENTS: u32 = 1024;
/// The default of `max_connections`, if the process may open enough files.
const DEFAULT_MAX_CONNECTIONS: usize = 100_000;

/// The length of the longest room name, in bytes.
pub(crate) const MAX_ROOM_NAME_LEN: usize = 64;
/// The length of the longest prefix of rooms with seats, in bytes. The rest of the name has up to 16 hexadecimal
/// digits, a dash, and up to 20 digits.
pub(crate) const MAX_ROOM_PREFIX_LEN: usize = MAX_ROOM_NAME_LEN - 37;

/// The limits of a node: maximum sizes and counts, and timeouts.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// In bytes, for all fragments of a message together.
    pub(crate) max_message_size: usize,
    /// By default, the largest message may come in fragments of 64 bytes.
    pub(crate) max_fragments_per_message: Option<u32>,
    pub(crate) rates: ClientRates,
    pub(crate) max_connections: usize,
    /// Connections, handshakes and pages together. The limit of open files decides it.
    pub(crate) max_sockets: usize,
    pub(crate) max_pending_handshakes: usize,
    pub(crate) max_handshakes_per_second: RateLimit,
    pub(crate) per_address: AddressLimits,
    pub(crate) max_rooms_per_connection: usize,
    pub(crate) max_rooms: usize,
    /// In bytes, of what a room shows, as JSON.
    pub(crate) max_room_data_size: usize,
    pub(crate) game_loops: LoopLimits,
    pub(crate) outbox: OutboxLimits,
    /// In bytes, for all outboxes of the node together.
    pub(crate) max_total_outbox_size: usize,
    pub(crate) handshake_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) handler_timeout: Duration,
    pub(crate) close_timeout: Duration,
    /// How long the seats of a replaced connection are kept for the newer one.
    pub(crate) seat_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    /// How long the session of a player whose connection was cut is kept; `None` if sessions cannot be resumed.
    pub(crate) resume_within: Option<Duration>,
    /// Whether sessions are handed over to the nodes to which their players come back.
    pub(crate) hands_over: bool,
    pub(crate) duplicates: Duplicates,
    pub(crate) heartbeat: Heartbeat,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_size: 64 * 1024,
            max_fragments_per_message: None,
            rates: ClientRates::default(),
            max_connections: available_files(RESERVED_FILES).min(DEFAULT_MAX_CONNECTIONS),
            max_sockets: available_files(OTHER_FILES),
            max_pending_handshakes: 4096,
            max_handshakes_per_second: RateLimit::new(20_000, 20_000),
            per_address: AddressLimits::default(),
            max_rooms_per_connection: 32,
            max_rooms: 200_000,
            max_room_data_size: 1024,
            game_loops: LoopLimits::default(),
            outbox: OutboxLimits { max_pushes: 1024, max_size: 256 * 1024 },
            max_total_outbox_size: 1024 * 1024 * 1024,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            handler_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
            seat_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(25),
            resume_within: None,
            hands_over: false,
            duplicates: Duplicates::default(),
            heartbeat: Heartbeat::default(),
        }
    }
}

impl Limits {
    /// Returns the limits of one message.
    #[inline]
    pub(crate) fn message(&self) -> MessageLimits {
        let max_fragments = self.max_fragments_per_message.unwrap_or_else(|| {
            let small = u32::try_from(self.max_message_size / SMALL_FRAGMENT).unwrap_or(u32::MAX);
            small.max(DEFAULT_MIN_FRAGMENTS)
        });
        MessageLimits { max_size: self.max_message_size, max_fragments }
    }
}

/// Returns how many files the process may open besides the reserved ones, but at least one.
fn available_files(reserved: u64) -> usize {
    let files = rlimit::Resource::NOFILE.get_soft().unwrap_or(1024);
    usize::try_from(files.saturating_sub(reserved)).unwrap_or(usize::MAX).max(1)
}

/// The limits of each client address.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "every limit of a size or count is named `max_*`")]
pub(crate) struct AddressLimits {
    pub(crate) max_pending_handshakes: usize,
    pub(crate) max_handshakes_per_second: RateLimit,
    pub(crate) max_connections: usize,
}

impl Default for AddressLimits {
    fn default() -> Self {
        Self { max_pending_handshakes: 64, max_handshakes_per_second: RateLimit::new(20, 100), max_connections: 256 }
    }
}

/// The limits of the game loops of a node.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "every limit of a size or count is named `max_*`")]
pub(crate) struct LoopLimits {
    /// Rooms whose loop runs on this node, or would be taken over by it.
    pub(crate) max_loops: usize,
    /// Messages that wait for one loop.
    pub(crate) max_queue: usize,
    /// Of a message or a reply, in bytes.
    pub(crate) max_message_size: usize,
    /// In bytes.
    pub(crate) max_saved_size: usize,
}

impl Default for LoopLimits {
    fn default() -> Self {
        Self { max_loops: 10_000, max_queue: 1024, max_message_size: 64 * 1024, max_saved_size: 64 * 1024 }
    }
}

/// How much one client may send and do in a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientRates {
    pub(crate) messages: RateLimit,
    /// Of everything that is read from the client.
    pub(crate) bytes: RateLimit,
    /// Of pings, and of pongs that answer no ping of the server.
    pub(crate) pings: RateLimit,
    pub(crate) joins: RateLimit,
}

impl Default for ClientRates {
    fn default() -> Self {
        Self {
            messages: RateLimit::new(100, 200),
            bytes: RateLimit::new(64 * 1024, 256 * 1024),
            pings: RateLimit::new(10, 20),
            joins: RateLimit::new(10, 50),
        }
    }
}

/// The limits of one connection's outbox. A connection that exceeds either of them is closed with 4002.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutboxLimits {
    pub(crate) max_pushes: usize,
    /// In bytes.
    pub(crate) max_size: usize,
}

/// The heartbeat that a client sends, and its usual answer.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeat {
    pub(crate) request: Cow<'static, str>,
    pub(crate) answer: Cow<'static, str>,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { request: "p".into(), answer: "q".into() }
    }
}

/// What happens when a uid gets a second connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Duplicates {
    /// The older connection is closed with 4500. This is right for a player who reconnects before the server has
    /// noticed that the old connection is lost.
    #[default]
    Replace,
    /// The newer connection is closed with 4503. This happens before `#[open]` if the older connection is on the same
    /// node, and otherwise as soon as the cluster reports it.
    Refuse,
    /// Both connections stay. Pushes to the user go to both.
    Allow,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_message_may_come_in_small_fragments() {
        let max_fragments = |max_message_size, max_fragments_per_message| {
            let limits = Limits { max_message_size, max_fragments_per_message, ..Limits::default() };
            assert_eq!(limits.message().max_size, max_message_size);
            limits.message().max_fragments
        };
        assert_eq!(max_fragments(1024 * 1024, None), 16 * 1024);
        assert_eq!(max_fragments(100, None), 1024);
        assert_eq!(max_fragments(1024 * 1024, Some(1)), 1);
    }
}
