//! The hand-over of a session to the node to which its player comes back: what the two nodes tell each other.
//!
//! ```text
//! new node                                old node
//!    | ask: the token                        |
//!    |-------------------------------------->| waits until the session's handler has ended
//!    |            offered: session and rooms |
//!    |<--------------------------------------|
//!    | joins the rooms                       |
//!    | ready (both nodes hear it)            |
//!    |-------------------------------------->| leaves the rooms
//!    |                 stored: its messages  |
//!    |<--------------------------------------|
//!    | takes them from the store             |
//!    | taken                                 |
//!    |-------------------------------------->| forgets the session
//! ```
//!
//! Each message for the session is delivered by one of the nodes. The bus has one order for all nodes, so what a third
//! node sends is delivered by the old node if it comes before `ready`, and by the new one if it comes after. What the
//! new node sends itself, it delivers from the moment on at which it queues `ready`; what the old node sends itself, it
//! delivers until it queues `stored`. Each of them closes its gate ([`SendGate`](super::SendGate)) at that moment.
//!
//! `ready` also passes the uid on, because other nodes send to whoever has it. If the old node refuses then, because it
//! has offered the session to a third node meanwhile or the client has come back to it, it takes the uid back.
#![cfg_attr(not(feature = "redis"), allow(dead_code, reason = "only a cluster in Redis hands sessions over"))]

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::node_state::recipient::ConnectionId;
use crate::protocol::Uid;
use crate::protocol::resumption::Token;

/// A question for a session.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SessionAsk {
    pub(crate) token: Token,
    /// How many messages the client has received.
    pub(crate) received: u64,
    /// The uid of the player who comes back; `None` for a guest.
    pub(crate) uid: Option<Uid>,
}

/// Who has asked for a session: a node, by its boot id, and its number for the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) node: String,
    pub(crate) number: u64,
}

/// A session that is offered to the node that has asked for it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SessionOffer {
    /// The number of the offer on the old node: a later one is greater.
    pub(crate) number: u64,
    /// The connection on the old node.
    pub(crate) connection: u64,
    pub(crate) uid: Uid,
    pub(crate) session: Box<RawValue>,
    pub(crate) rooms: Vec<CarriedRoom>,
    /// Those of the rooms whose game loops the old node knows.
    pub(crate) loops: Vec<String>,
    /// When the session expires, in milliseconds since 1970; `None` if it never does.
    pub(crate) expires: Option<u64>,
}

/// A room that the session is in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CarriedRoom {
    pub(crate) name: String,
    /// Whether the member gets presence pushes.
    pub(crate) listens: bool,
    /// Whether the cluster lists the room.
    pub(crate) is_listed: bool,
    pub(crate) seat: Option<CarriedSeat>,
}

impl CarriedRoom {
    /// Whether this is the same place in the same room. The room itself may have changed.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        let Self { name, listens, seat, is_listed: _ } = self;
        *name == other.name && *listens == other.listens && *seat == other.seat
    }
}

/// The seat of a session in a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CarriedSeat {
    pub(crate) family: Option<String>,
    /// The number of seats of the room.
    pub(crate) seats: usize,
}

/// A step of a hand-over after the question.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum HandOverStep {
    /// The old node would hand the session over.
    Offered(Box<SessionOffer>),
    /// The old node does not hand the session over.
    Refused,
    /// The client has come to another node meanwhile.
    Superseded,
    /// The new node delivers what comes from now on.
    Ready {
        /// The connection on the old node.
        connection: u64,
        /// The uid, if the new node has got it from the old one.
        uid: Option<Uid>,
    },
    /// The old node has parted with the session, and has stored its messages.
    Stored,
    /// The new node has taken them. Holds the connection on the old node.
    Taken(u64),
}

/// What a store holds of a session.
#[derive(Debug)]
pub(crate) enum StoredSession {
    /// The messages, which nobody else gets any more.
    Messages(Bytes),
    /// They were taken before.
    Taken,
    /// They were not stored, and cannot be stored any more.
    Absent,
}

/// The sessions of a node that may be handed over.
pub(crate) trait SessionHolder: Send + Sync {
    /// Passes a question on to the session with the token. Returns who is superseded by the asker, if somebody had
    /// asked before.
    ///
    /// # Errors
    ///
    /// There is no such session, or it is too late to ask.
    fn ask(&self, asker: Asker, ask: SessionAsk) -> Result<Option<Asker>, NoSession>;

    /// Lets a session go that was offered to this asker. Returns `false` if it was not, or is not any more.
    fn let_go(&self, connection: ConnectionId, asker: &Asker) -> bool;

    /// Records that this asker has the session.
    fn was_taken(&self, connection: ConnectionId, asker: &Asker);
}

/// There is no session to hand over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoSession;
