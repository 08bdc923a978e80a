//! Which other nodes have members in this node's rooms.
//!
//! When a room gets its first member on a node, the node subscribes to the room's channel and publishes a hello there.
//! Every node in the channel answers whether it counts as a member node too: it does from its own hello until its bye.
//! So each node knows which other nodes have members in its rooms: a send to a room whose members are all on one node
//! publishes nothing, and a join returns once the other nodes know about it.

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// How long other nodes may take to answer.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_millis(250);

/// The rooms that have members on this node, and rooms without members whose channels are still subscribed.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// Read for every send to a room; written when the first member joins, the last leaves, or another node reports.
    rooms: RwLock<HashMap<Box<str>, RoomPeers>>,
    /// Notified when there may be a room whose channel must be subscribed.
    pub(super) added: Notify,
    /// Changes when a room may have settled.
    pub(super) changes: watch::Sender<()>,
}

/// What this node knows about a room on other nodes.
#[derive(Debug, Default)]
struct RoomPeers {
    /// Whether this node has a member in the room.
    has_members: bool,
    /// When the hello was published, after the channel was subscribed; `None` if it is not subscribed.
    greeted: Option<Instant>,
    /// How many nodes have not answered the hello.
    missing: usize,
    /// The boot ids of the other nodes that have members in the room.
    nodes: HashSet<String>,
}

impl Peers {
    /// Whether another node may have members in the room.
    pub(super) fn may_reach(&self, room: &str) -> bool {
        let may_have_nodes =
            |peers: &RoomPeers| peers.greeted.is_none() || peers.missing > 0 || !peers.nodes.is_empty();
        self.rooms().get(room).is_none_or(may_have_nodes)
    }

    /// Whether the other nodes know about this node's members, or the time for their answers has passed.
    pub(super) fn is_settled(&self, room: &str) -> bool {
        let is_answered = |peers: &RoomPeers, at: Instant| peers.missing == 0 || at.elapsed() >= ANSWER_TIMEOUT;
        self.rooms().get(room).is_none_or(|peers| peers.greeted.is_some_and(|at| is_answered(peers, at)))
    }

    pub(super) fn is_subscribed(&self, room: &str) -> bool {
        self.rooms().get(room).is_some_and(|peers| peers.greeted.is_some())
    }

    /// Records that this node has a member in the room.
    pub(super) fn add(&self, room: &str) {
        let mut rooms = self.rooms_mut();
        match rooms.get_mut(room) {
            Some(peers) => peers.has_members = true,
            None => _ = rooms.insert(room.into(), RoomPeers { has_members: true, ..RoomPeers::default() }),
        }
        drop(rooms);
        self.added.notify_one();
    }

    /// Records that this node has no member in the room any more. A subscribed room stays until
    /// [`take_left`](Self::take_left).
    pub(super) fn remove(&self, room: &str) {
        let mut rooms = self.rooms_mut();
        if let Some(peers) = rooms.get_mut(room) {
            peers.has_members = false;
            if peers.greeted.is_none() {
                rooms.remove(room);
            }
        }
    }

    /// Returns the rooms whose channels must be subscribed.
    pub(super) fn unsubscribed(&self) -> Vec<Box<str>> {
        let rooms = self.rooms();
        let new = rooms.iter().filter(|(_, peers)| peers.has_members && peers.greeted.is_none());
        new.map(|(room, _)| room.clone()).collect()
    }

    /// Records that the rooms' channels are subscribed, and how many nodes, including this one, have received the hello
    /// in each of them.
    pub(super) fn greeted(&self, rooms: &[Box<str>], receivers: Vec<usize>) {
        let mut known = self.rooms_mut();
        for (room, receivers) in rooms.iter().zip(receivers) {
            // If the last member has left meanwhile, `take_left` returns the room.
            let peers = known.entry(room.clone()).or_default();
            peers.missing = receivers.saturating_sub(1);
            peers.greeted = Some(Instant::now());
        }
        drop(known);
        self.changes.send_replace(());
    }

    /// Records that another node has a member in the room. Returns whether this node is subscribed to the room's
    /// channel.
    pub(super) fn hello(&self, room: &str, node: String) -> bool {
        let mut rooms = self.rooms_mut();
        let peers = rooms.get_mut(room).filter(|peers| peers.greeted.is_some());
        peers.map(|peers| peers.nodes.insert(node)).is_some()
    }

    /// Records that another node has answered the hello, and whether it counts as a member node.
    pub(super) fn seen(&self, room: &str, node: String, is_member: bool) {
        if let Some(peers) = self.rooms_mut().get_mut(room) {
            peers.missing = peers.missing.saturating_sub(1);
            if is_member {
                peers.nodes.insert(node);
            }
        }
        self.changes.send_replace(());
    }

    /// Records that another node has no member in the room any more.
    pub(super) fn bye(&self, room: &str, node: &str) {
        if let Some(peers) = self.rooms_mut().get_mut(room) {
            peers.nodes.remove(node);
        }
    }

    /// Returns the other nodes that have members in any room.
    pub(super) fn nodes(&self) -> HashSet<String> {
        self.rooms().values().flat_map(|peers| &peers.nodes).cloned().collect()
    }

    /// Removes a node that is gone from all rooms.
    pub(super) fn forget(&self, node: &str) {
        self.rooms_mut().values_mut().for_each(|peers| _ = peers.nodes.remove(node));
    }

    /// Removes the rooms without members, and returns those whose channels are subscribed.
    pub(super) fn take_left(&self) -> Vec<Box<str>> {
        let mut rooms = self.rooms_mut();
        let left = rooms.extract_if(|_, peers| !peers.has_members);
        left.filter(|(_, peers)| peers.greeted.is_some()).map(|(room, _)| room).collect()
    }

    /// Resets the rooms after the connection to the bus is lost, and with it all subscriptions.
    pub(super) fn reset(&self) {
        self.rooms_mut().retain(|_, peers| {
            *peers = RoomPeers { has_members: peers.has_members, ..RoomPeers::default() };
            peers.has_members
        });
    }

    // No code that holds the lock can panic in the middle of a change.
    fn rooms(&self) -> RwLockReadGuard<'_, HashMap<Box<str>, RoomPeers>> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn rooms_mut(&self) -> RwLockWriteGuard<'_, HashMap<Box<str>, RoomPeers>> {
        self.rooms.write().unwrap_or_else(PoisonError::into_inner)
    }
}
