//! The interfaces between a node and its cluster: the node calls [`Cluster`] and [`HandOvers`], and the cluster calls
//! [`ClusterNode`].
#![cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only the cluster in Redis uses all of it"))]

use std::fmt;
use std::future::ready;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;

use crate::http::ReservationId;
use crate::node_state::audience::Audience;
use crate::node_state::fan_out::EncodedPush;
use crate::node_state::game_loop::{GameLoopError, LeaseAnswer, LeaseRequest, LoopFault, LoopMessage};
use crate::node_state::hand_over::{Asker, HandOverStep, SessionAsk, SessionOffer, StoredSession};
use crate::node_state::limits::Duplicates;
use crate::node_state::listing::{RoomPage, RoomQuery};
use crate::node_state::member::{Member, Presence};
use crate::node_state::recipient::ConnectionId;
use crate::node_state::seat::{Seat, SeatRefusal, SeatRequest, Vacating};
use crate::protocol::{StartError, Syntax, Uid};
use crate::websocket::Close;

/// A boxed future, for the methods of object-safe traits.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A cluster that a node can join. [`Server::cluster`](crate::Server::cluster) takes a `ClusterConfig` and converts it
/// into this.
pub(crate) trait JoinCluster: fmt::Debug + Send + Sync {
    /// Creates the node's handle to the cluster. Nothing is sent before [`Cluster::start`].
    ///
    /// # Errors
    ///
    /// The configuration is invalid.
    fn join(&self, node: NodeInfo) -> Result<Arc<dyn Cluster>, StartError>;
}

/// What a cluster needs to know about a node that joins it.
#[derive(Clone, Debug)]
pub(crate) struct NodeInfo {
    /// Identifies this process, even among processes with the same address.
    pub(crate) boot: u64,
    /// Where the node listens; `None` if it is mounted in a router or runs in a test.
    pub(crate) listens: Option<SocketAddr>,
    pub(crate) max_connections: usize,
    pub(crate) duplicates: Duplicates,
    /// What the process runs, for gateways to prefer nodes of the newest version; empty if it is not set.
    pub(crate) version: String,
}

/// A node's handle to its cluster: the directory of nodes and users, and the bus between nodes.
///
/// Methods that return no future never block, so a player's message never waits for the cluster. The default methods
/// are those of a node without a cluster.
pub(crate) trait Cluster: Send + Sync {
    /// Connects this handle to its node. Called once, before [`start`](Self::start).
    fn attach(&self, _: Weak<dyn ClusterNode>) {}

    /// Registers the node in the directory and starts to receive. Called at most once.
    fn start(&self) {}

    /// Tells the cluster that the node's load has changed.
    fn load_changed(&self) {}

    /// Ends a gateway's reservation, because its handshake has ended. If the handshake succeeded, the connection is
    /// already part of the load.
    fn redeem(&self, _: ReservationId) {}

    /// Announces that the node takes no more players, and waits for a bounded time until gateways no longer choose it.
    /// Returns whether there may be other nodes that can take its players.
    fn drain(&self) -> BoxFuture<'_, bool> {
        Box::pin(ready(false))
    }

    /// Removes the node from the directory. Waits for a bounded time.
    fn leave(&self) -> BoxFuture<'_, ()> {
        Box::pin(ready(()))
    }

    /// Returns the state of the node in the directory. A cluster without a directory lists every node.
    fn status(&self) -> Status {
        Status::Listed
    }

    /// Waits until it is known whether other nodes can be reached, and returns whether they can.
    fn wait_until_known(&self) -> BoxFuture<'_, bool> {
        Box::pin(ready(true))
    }

    /// Whether another node may have a connection at this address. If not, nothing is encoded for the bus.
    fn reaches(&self, _: Address<&str>) -> bool {
        false
    }

    /// Sends a message to the other nodes: at most once, and in order per sender and address.
    ///
    /// # Errors
    ///
    /// The bus cannot be reached, or its queue is full.
    fn publish(&self, _: Address<&str>, _: NodeMessage) -> Result<(), Unavailable> {
        Ok(())
    }

    /// Starts to receive the messages to a room. Called when the room gets its first member on this node.
    fn subscribe(&self, _room: &str) {}

    /// Stops receiving the messages to a room. Called when the room loses its last member on this node.
    fn unsubscribe(&self, _room: &str) {}

    /// Waits until messages to the room reach this node.
    fn subscribed<'a>(&'a self, _room: &'a str) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(ready(Ok(())))
    }

    /// Claims a uid for a connection of this node. Among this node's connections, the one with the highest `order`
    /// wins. The cluster reports the losing connection, on this node or another, by [`ClusterNode::lose_uid`].
    fn claim(&self, _: &Uid, _: ConnectionId, _order: u64) {}

    /// Says whether the player of a connection that has its uid is away. Then a newer connection of another node gets
    /// the uid, even if older connections otherwise [keep](Duplicates::Refuse) theirs.
    fn set_away(&self, _: &Uid, _: ConnectionId, _is_away: bool) {}

    /// Releases the uid of a connection that has ended. A newer claim on the uid stays.
    fn release(&self, _: &Uid, _: ConnectionId) {}

    /// Asks for a seat in a room. A player who has it already keeps it.
    fn take_seat(&self, request: SeatRequest) -> BoxFuture<'_, Result<Seat, SeatRefusal>>;

    /// Gives up a seat. It is free when no other request of its player holds it.
    fn vacate(&self, seat: &Seat, when: Vacating);

    /// Frees the seats of connections of this node that are kept for a user.
    fn free_kept(&self, uid: &Uid);

    /// Reports that the number of members of a listed room of this node has changed.
    fn report(&self, _room: &str) {}

    /// Sets what a room of this node shows in lists, as JSON.
    fn set_public(&self, _room: &str, _public: &Arc<str>) {}

    /// Returns a page of the rooms that have seats or show data.
    fn list<'a>(&'a self, query: RoomQuery<'a>) -> BoxFuture<'a, Result<RoomPage, Unavailable>>;

    /// Asks the other nodes for the members of a room.
    fn members<'a>(&'a self, _room: &'a str) -> BoxFuture<'a, Gathered> {
        Box::pin(ready(Gathered::default()))
    }

    /// How long a lease of a game loop lasts. It is renewed every third of this.
    fn loop_lease(&self) -> Duration {
        Duration::from_secs(6)
    }

    /// Takes, renews and gives up leases of game loops, in one round trip. The answers are in the order of the
    /// requests.
    fn lease_loops<'a>(&'a self, _: &'a [LeaseRequest]) -> BoxFuture<'a, Result<Vec<LeaseAnswer>, Unavailable>> {
        Box::pin(ready(Err(Unavailable)))
    }

    /// Sends a message to the node that runs the game loop of a room: at most once, and in order per sender and room.
    /// If no node runs it, the answer to a question says so.
    ///
    /// # Errors
    ///
    /// No node runs it, as far as this is known at once; the bus cannot be reached, or its queue is full.
    fn send_to_loop(&self, _room: &str, _: LoopMessage) -> Result<(), GameLoopError> {
        Err(GameLoopError::NotRunning)
    }

    /// Answers the question with this number of another node to a game loop. If that node cannot be reached, its wait
    /// times out.
    fn answer_for_loop(&self, _node: &str, _number: u64, _: Result<Bytes, LoopFault>) {}

    /// Returns how the nodes hand sessions over. `None` if they do not.
    fn hand_overs(&self) -> Option<&dyn HandOvers> {
        None
    }
}

/// How the nodes of a cluster hand sessions over.
pub(crate) trait HandOvers: Send + Sync {
    /// Asks the node with this tag for a session. Returns whether there is such a node.
    fn ask(&self, tag: u32, number: u64, ask: SessionAsk) -> BoxFuture<'_, bool>;

    /// Tells a node a step of the hand-over with this number, in the order of what is published. If it cannot be
    /// reached, its wait times out.
    fn tell(&self, node: &str, number: u64, step: HandOverStep);

    /// Tells the old node, and this one too, that this one is ready: at one place in the order of all messages. If
    /// `uid` is given, the connection on the old node passes it to that of this node there. If neither that one has it
    /// nor a node with an earlier offer, this node is told that the hand-over is refused.
    ///
    /// # Errors
    ///
    /// The bus cannot be reached, or its queue is full.
    fn ready(&self, old_node: &str, number: u64, offer: &SessionOffer, uid: Option<&Uid>) -> Result<(), Unavailable>;

    /// Stores the messages of a session for the node that has asked for it, and tells it so, in the order of what is
    /// published. They expire.
    ///
    /// # Errors
    ///
    /// The bus cannot be reached, or its queue is full.
    fn store(&self, asker: &Asker, messages: Vec<u8>) -> Result<(), Unavailable>;

    /// Takes the messages of a session that are stored for this connection, and tells the old node so.
    fn take<'a>(
        &'a self,
        connection: ConnectionId,
        old_node: &'a str,
        offer: &'a SessionOffer,
    ) -> BoxFuture<'a, Result<StoredSession, Unavailable>>;

    /// Takes the messages back.
    fn take_back<'a>(&'a self, asker: &'a Asker) -> BoxFuture<'a, Result<StoredSession, Unavailable>>;

    /// Removes what is left in the store, because the new node has the session.
    fn forget(&self, asker: &Asker);

    /// Receives the messages to a room until [`let_go`](Self::let_go), also without a member.
    fn hold(&self, room: &str);

    /// Ends a [`hold`](Self::hold).
    fn let_go(&self, room: &str);

    /// Records that a connection of this node gets its uid from that connection of another node with
    /// [`ready`](Self::ready).
    fn adopt(&self, uid: &Uid, connection: ConnectionId, order: u64, from: (&str, u64));

    /// Releases the uid of a connection of this node that was ready, but does not get the session, in the order of what
    /// is published: whatever becomes of what the cluster is [told](Cluster::release) by another way, `ready` is not
    /// later.
    fn give_up(&self, uid: &Uid, connection: ConnectionId);

    /// Takes the uid of a connection of this node back from a node that was ready for the session, but does not get it.
    fn keep(&self, uid: &Uid, connection: ConnectionId, asker: &Asker);

    /// Records that a connection has passed its uid to another node.
    fn part_with(&self, uid: &Uid, connection: ConnectionId);
}

/// A node as its cluster sees it.
pub(crate) trait ClusterNode: Send + Sync {
    /// Delivers a message of another node.
    fn receive(&self, from: &str, to: Address<&str>, message: &NodeMessage);

    /// Closes a connection of this node that does not get its uid, or lost it to another node.
    fn lose_uid(&self, uid: &Uid, connection: ConnectionId, duplicates: Duplicates);

    /// Returns the members of a room on this node.
    fn members(&self, room: &str) -> Vec<Member>;

    /// Returns the number of members of a room on this node, and what this node lets the room show in lists.
    fn listing(&self, room: &str) -> (usize, Option<Arc<str>>);

    /// Returns the rooms of this node that the cluster lists.
    fn listed_rooms(&self) -> Vec<Arc<str>>;

    /// Whether the cluster lists a room of this node.
    fn is_listed(&self, room: &str) -> bool;

    /// Returns the syntaxes of the node's endpoints.
    fn syntaxes(&self) -> &[&'static Syntax];

    /// Returns the node's load.
    fn load(&self) -> Load;

    /// Delivers a message of a node, perhaps this one, to a game loop.
    fn receive_for_loop(&self, from: &str, room: &str, message: LoopMessage);

    /// Delivers the answer to a question of this node to a game loop.
    fn receive_from_loop(&self, number: u64, answer: Result<Bytes, LoopFault>);

    /// Passes the question of another node for a session on.
    fn asked_for_session(&self, asker: Asker, ask: SessionAsk);

    /// Receives a step of the hand-over with this number from another node. A step that this node has published itself
    /// is passed too (`is_own`), at its place in the order of all messages.
    fn receive_step(&self, from: &str, number: u64, step: HandOverStep, is_own: bool);
}

/// The load of a node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    /// Connections, without handshakes that are being accepted.
    pub(crate) connections: usize,
    pub(crate) rooms: usize,
    /// Messages handled since the node started.
    pub(crate) messages: u64,
}

/// The destination of a push: connections of one node or of the whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "redis", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum Address<T> {
    Room(T),
    User(T),
    Everybody,
}

#[cfg(feature = "redis")]
impl<T> Address<T> {
    /// Converts the name.
    pub(crate) fn map<'a, U>(&'a self, convert: impl FnOnce(&'a T) -> U) -> Address<U> {
        match self {
            Self::Room(room) => Address::Room(convert(room)),
            Self::User(uid) => Address::User(convert(uid)),
            Self::Everybody => Address::Everybody,
        }
    }
}

/// A message from one node to others.
#[derive(Clone, Debug)]
pub(crate) enum NodeMessage {
    Push {
        push: EncodedPush,
        audience: Audience,
    },
    /// A user has joined or left the room, for members who asked for presence.
    Presence {
        presence: Presence,
        member: Member,
    },
    /// The user's connections must be closed.
    Kick(Close),
    /// The room has seats or shows data, so every node with members there must report their number.
    Listed,
    /// The node that ran the room's game loop has given it up, for another node to take it over.
    LoopIsFree,
    /// The room's game loop is over, because it knew no players. If players have come meanwhile, their node starts a
    /// new one.
    LoopWasAlone,
}

/// The members of a room on other nodes.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) members: Vec<Member>,
    /// Whether members are missing, because a node did not answer in time.
    pub(crate) is_partial: bool,
}

/// The cluster cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unavailable;

/// The state of a node in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only Redis has a directory"))]
pub(crate) enum Status {
    /// The directory has not been reached yet.
    Joining,
    /// The node is registered, and gateways choose it.
    Listed,
    /// The node is registered, but gateways no longer choose it.
    Unlisted,
    /// The directory cannot be reached at present.
    Away,
    /// The directory could not be reached for longer than the lease: other nodes consider this node dead.
    Expired,
    /// Another process has taken the node's address.
    Fenced,
}

#[cfg(feature = "redis")]
impl Status {
    /// Whether the directory can be reached and knows the node.
    pub(crate) fn is_registered(self) -> bool {
        matches!(self, Self::Listed | Self::Unlisted)
    }
}
