//! A connection as the rest of the node sees it.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::node_state::memberships::Memberships;
use crate::node_state::outbox::Outbox;
use crate::node_state::questions::Questions;
use crate::node_state::seat::Vacating;
use crate::node_state::silence::Silence;
use crate::protocol::{Syntax, Uid};

/// A connection with any session, as the rest of the node sees it.
pub(crate) trait Recipient: Send + Sync {
    fn state(&self) -> &ConnectionState;

    /// Returns what other players may see of this player; `null` if it cannot be written as JSON.
    fn public(&self) -> Value;

    /// Whether the player is a guest: the session has no uid.
    fn is_guest(&self) -> bool;
}

/// The part of a connection that the rest of the node uses.
pub(crate) struct ConnectionState {
    pub(crate) id: ConnectionId,
    /// The session's uid, or a random one for a guest.
    pub(crate) uid: Uid,
    pub(crate) syntax: &'static Syntax,
    pub(crate) outbox: Outbox,
    pub(crate) memberships: Memberships,
    /// The questions that the client has not answered yet.
    pub(crate) questions: Questions,
    pub(crate) silence: Silence,
}

impl ConnectionState {
    /// Returns what becomes of the seats of this connection when it gives them up: the user's newer connection may take
    /// those of a replaced one until `seat_timeout`.
    pub(super) fn vacating(&self, seat_timeout: Duration) -> Vacating {
        if self.outbox.is_replaced() && !seat_timeout.is_zero() {
            Vacating::KeptFor(seat_timeout)
        } else {
            Vacating::Now
        }
    }
}

/// The id of a connection, unique within its node. It is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(crate) u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A connection without a socket and without a task.
#[cfg(test)]
pub(crate) struct BareConnection(ConnectionState);

#[cfg(test)]
impl BareConnection {
    pub(crate) fn create(id: u64, uid: &str) -> std::sync::Arc<dyn Recipient> {
        std::sync::Arc::new(Self(ConnectionState {
            id: ConnectionId(id),
            uid: Uid::new(uid).unwrap(),
            syntax: &Syntax::DEFAULT,
            outbox: <_>::default(),
            memberships: <_>::default(),
            questions: <_>::default(),
            silence: <_>::default(),
        }))
    }
}

#[cfg(test)]
impl Recipient for BareConnection {
    fn state(&self) -> &ConnectionState {
        &self.0
    }

    fn public(&self) -> Value {
        Value::Null
    }

    fn is_guest(&self) -> bool {
        false
    }
}
