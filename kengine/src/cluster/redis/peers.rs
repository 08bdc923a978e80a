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
    /// How many sessions that come from other nodes are about to be members.
    holds: usize,
    /// When the hello was published, after the channel was subscribed; `None` if it is not subscribed.
    greeted: Option<Instant>,
    /// How many nodes have not answered the hello.
    missing: usize,
    /// The boot ids of the other nodes that have members in the room.
    nodes: HashSet<String>,
}

impl RoomPeers {
    /// Whether this node needs the messages to the room.
    fn is_wanted(&self) -> bool {
        self.has_members || self.holds > 0
    }
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

    /// Keeps the channel of the room subscribed, also without a member.
    pub(super) fn hold(&self, room: &str) {
        self.rooms_mut().entry(room.into()).or_default().holds += 1;
        self.added.notify_one();
    }

    /// Ends a [`hold`](Self::hold).
    pub(super) fn let_go(&self, room: &str) {
        let mut rooms = self.rooms_mut();
        if let Some(peers) = rooms.get_mut(room) {
            peers.holds = peers.holds.saturating_sub(1);
            if peers.greeted.is_none() && !peers.is_wanted() {
                rooms.remove(room);
            }
        }
    }

    /// Records that this node has no member in the room any more. A subscribed room stays until
    /// [`take_left`](Self::take_left).
    pub(super) fn remove(&self, room: &str) {
        let mut rooms = self.rooms_mut();
        if let Some(peers) = rooms.get_mut(room) {
            peers.has_members = false;
            if peers.greeted.is_none() && !peers.is_wanted() {
                rooms.remove(room);
            }
        }
    }

    /// Returns the rooms whose channels must be subscribed.
    pub(super) fn unsubscribed(&self) -> Vec<Box<str>> {
        let rooms = self.rooms();
        let new = rooms.iter().filter(|(_, peers)| peers.is_wanted() && peers.greeted.is_none());
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
        let left = rooms.extract_if(|_, peers| !peers.is_wanted());
        left.filter(|(_, peers)| peers.greeted.is_some()).map(|(room, _)| room).collect()
    }

    /// Resets the rooms after the connection to the bus is lost, and with it all subscriptions.
    pub(super) fn reset(&self) {
        self.rooms_mut().retain(|_, peers| {
            *peers = RoomPeers { has_members: peers.has_members, holds: peers.holds, ..RoomPeers::default() };
            peers.is_wanted()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A node that has a member in the room `inn`, and has published its hello to this many nodes, itself included.
    fn greeted(receivers: usize) -> Peers {
        let peers = Peers::default();
        peers.add("inn");
        peers.greeted(&["inn".into()], vec![receivers]);
        peers
    }

    fn names(mut rooms: Vec<Box<str>>) -> Vec<String> {
        rooms.sort_unstable();
        rooms.into_iter().map(String::from).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_room_may_reach_others_until_all_of_them_have_answered() {
        let peers = Peers::default();
        assert!(peers.may_reach("inn") && peers.is_settled("inn"), "this node has no member there");
        peers.add("inn");
        assert!(peers.may_reach("inn") && !peers.is_settled("inn") && !peers.is_subscribed("inn"));
        peers.greeted(&["inn".into()], vec![3]);
        assert!(peers.may_reach("inn") && !peers.is_settled("inn") && peers.is_subscribed("inn"));
        peers.seen("inn", "a".into(), false);
        assert!(peers.may_reach("inn") && !peers.is_settled("inn"), "one answer is missing");
        peers.seen("inn", "b".into(), false);
        assert!(!peers.may_reach("inn") && peers.is_settled("inn"), "no other node is in the room");
        assert!(!greeted(1).may_reach("inn") && greeted(1).is_settled("inn"), "nobody else has received the hello");
    }

    #[tokio::test(start_paused = true)]
    async fn a_room_settles_when_the_time_for_answers_has_passed() {
        let peers = greeted(2);
        tokio::time::advance(ANSWER_TIMEOUT.saturating_sub(Duration::from_millis(1))).await;
        assert!(!peers.is_settled("inn"));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(peers.is_settled("inn"));
        assert!(peers.may_reach("inn"), "who has not answered may have members");
    }

    #[tokio::test(start_paused = true)]
    async fn a_room_reaches_the_nodes_that_have_members_there() {
        let peers = greeted(2);
        assert!(!peers.hello("mill", "a".into()), "this node is not in that room");
        peers.seen("inn", "a".into(), true);
        assert!(peers.hello("inn", "b".into()));
        assert_eq!(peers.nodes(), HashSet::from(["a".into(), "b".into()]));
        peers.bye("inn", "a");
        assert!(peers.may_reach("inn"));
        peers.forget("b");
        assert!(!peers.may_reach("inn") && peers.nodes().is_empty());
        peers.add("mill");
        assert!(!peers.hello("mill", "a".into()), "its channel is not subscribed yet");
        assert!(peers.nodes().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_room_stays_until_its_channel_is_left() {
        let peers = greeted(1);
        for room in ["mill", "moor"] {
            peers.add(room);
        }
        assert_eq!(names(peers.unsubscribed()), ["mill", "moor"]);
        peers.remove("moor");
        assert_eq!(names(peers.unsubscribed()), ["mill"]);
        peers.remove("inn");
        assert!(peers.is_subscribed("inn"), "its channel has not been left");
        assert_eq!(names(peers.unsubscribed()), ["mill"], "a room without members needs no channel");
        peers.add("inn");
        assert!(peers.take_left().is_empty());
        peers.remove("inn");
        // The last member of this room left while its channel was being subscribed.
        peers.greeted(&["moor".into()], vec![1]);
        assert_eq!(names(peers.take_left()), ["inn", "moor"]);
        assert!(peers.take_left().is_empty());
        assert_eq!(names(peers.unsubscribed()), ["mill"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_room_is_held_without_members() {
        let peers = Peers::default();
        peers.hold("inn");
        peers.hold("inn");
        peers.added.notified().await;
        assert_eq!(names(peers.unsubscribed()), ["inn"]);
        peers.reset();
        peers.greeted(&["inn".into()], vec![1]);
        peers.let_go("inn");
        peers.add("inn");
        peers.remove("inn");
        assert!(peers.take_left().is_empty(), "it is still held");
        peers.let_go("inn");
        peers.let_go("inn");
        assert_eq!(names(peers.take_left()), ["inn"]);
        peers.hold("mill");
        peers.let_go("mill");
        assert!(peers.unsubscribed().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_connection_leaves_only_the_rooms_with_members() {
        let peers = greeted(2);
        peers.seen("inn", "a".into(), true);
        peers.add("mill");
        peers.greeted(&["mill".into()], vec![1]);
        peers.remove("mill");
        peers.reset();
        assert!(!peers.is_subscribed("inn") && peers.nodes().is_empty());
        assert_eq!(names(peers.unsubscribed()), ["inn"]);
        assert!(peers.take_left().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told_of_new_rooms_and_of_answers() {
        let peers = Peers::default();
        let mut changes = peers.changes.subscribe();
        peers.add("inn");
        peers.added.notified().await;
        peers.greeted(&["inn".into()], vec![2]);
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        peers.seen("inn", "a".into(), false);
        assert!(changes.has_changed().unwrap());
    }
}
