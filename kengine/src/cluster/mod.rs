//! Nodes that know of each other: the directory of who is where, and the bus for what they send each other.
//!
//! What a node tells the cluster it notes and goes on: nothing here waits but what returns a future, and no message of
//! a player's does.

mod alone;
mod memory;
#[cfg(feature = "redis")]
mod redis;

use std::{
    fmt,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Weak},
};

use bytes::Bytes;

pub(crate) use self::alone::Alone;
pub use self::memory::Memory;
#[cfg(feature = "redis")]
pub(crate) use self::redis::Outside;
#[cfg(feature = "redis")]
pub use self::redis::Redis;
use crate::{
    Close, ConnectionId, Duplicates, Member, Result, Syntax, Uid,
    hub::{Audience, Presence},
    node::Node,
    outbox::Key,
    reservation::ReservationId,
};

/// A node's handle on its cluster: directory and bus in one.
pub(crate) trait Cluster: fmt::Debug + Send + Sync {
    /// The node serves from now on.
    fn begin(&self) {}

    /// It has more or fewer connections than before.
    fn changed(&self) {}

    /// A handshake is over for which a gateway had reserved a seat: that counts no more. Its connection is known by now,
    /// if it became one.
    fn redeem(&self, _: ReservationId) {}

    /// It takes no more players: waits until none are sent to it, though not for long. Whether there may be other nodes,
    /// over which its players are to spread.
    fn drain(&self) -> Later<'_, bool> {
        Box::pin(std::future::ready(false))
    }

    /// It is gone: waits until nobody is told of it any more.
    fn leave(&self) -> Later<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// How it is with the directory.
    fn status(&self) -> Status {
        Status::Here
    }

    /// Waits until it is known whether the other nodes can be reached.
    #[cfg(feature = "redis")]
    fn reached(&self) -> Later<'_, bool> {
        Box::pin(std::future::ready(true))
    }

    /// Whether some other node may have somebody at this address: without one nothing is encoded for the bus.
    fn reaches(&self, to: Address<'_>) -> bool;

    /// Puts a parcel on the bus, for the other nodes; in order per sender and address, each at most once.
    ///
    /// # Errors
    ///
    /// That the bus cannot be reached, or is full.
    fn publish(&self, to: Address<'_>, parcel: Parcel) -> Result<(), Unavailable>;

    /// This node has somebody in the room from now on.
    fn subscribe(&self, room: &str);

    /// It has nobody there any more.
    fn unsubscribe(&self, room: &str);

    /// Waits until what is sent to the room reaches this node.
    fn subscribed<'a>(&'a self, room: &'a str) -> Later<'a, Result<(), Unavailable>>;

    /// A connection of this node claims the uid; of several of this node, that with the highest `order` does. Whoever
    /// is not to have it, here or on another node, is told by [`Node::lose`].
    fn claim(&self, uid: &Uid, connection: ConnectionId, order: u64, duplicates: Duplicates);

    /// That connection has ended; a claim that is newer stays.
    fn release(&self, uid: &Uid, connection: ConnectionId);

    /// Asks the other nodes who is in a room.
    fn members<'a>(&'a self, room: &'a str) -> Later<'a, Gathered>;
}

/// What comes in time.
pub(crate) type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whom something on the bus is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address<'a> {
    Room(&'a str),
    User(&'a str),
    Everybody,
}

/// Something on the bus.
#[derive(Clone, Debug)]
pub(crate) enum Parcel {
    /// A push, encoded in each syntax that the sending node's endpoints have.
    Push { frames: Arc<[(Syntax, Bytes)]>, key: Option<Key>, audience: Audience },
    /// A user has come to the room or gone, for those who are told.
    Presence { presence: Presence, member: Member },
    /// The user's connection is to be closed.
    Kick(Close),
}

/// What other nodes answered.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) members: Vec<Member>,
    /// Some did not answer in time.
    pub(crate) is_partial: bool,
}

/// The cluster cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unavailable;

/// How it is with a node's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    /// It has not been reached yet.
    Joining,
    /// The node is in it.
    Here,
    /// It cannot be reached at present.
    Away,
    /// Nor could it for longer than the node's lease: others take this node for dead.
    Expired,
    /// Another process has the node's address.
    Fenced,
}

impl From<u8> for Status {
    fn from(number: u8) -> Self {
        [Self::Joining, Self::Here, Self::Away, Self::Expired]
            .into_iter()
            .find(|status| *status as u8 == number)
            .unwrap_or(Self::Fenced)
    }
}

/// A cluster that a node can be part of.
pub(crate) trait Enter: fmt::Debug + Send + Sync {
    /// Makes a node part of it, which tells itself from others by `boot` and listens there, if it listens itself. The
    /// node is not complete yet, and is looked at only when something is sent to it.
    ///
    /// # Errors
    ///
    /// What is wrong with how the cluster is configured.
    fn enter(&self, node: &Weak<Node>, boot: u64, listens: Option<SocketAddr>) -> Result<Arc<dyn Cluster>>;
}
