//! One room of this node, from its first member to its last.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::{fmt, sync::Arc, task::Waker};

use crate::node_state::deferred_wakes::defer_while;
use crate::node_state::fan_out::FanOut;
use crate::node_state::limits::Duplicates;
use crate::node_state::member::{Joined, Left, Member, Presence};
use crate::node_state::memberships::RoomId;
use crate::node_state::recipient::ConnectionId;
use crate::node_state::recipient::Recipient;
use crate::node_state::seat::Seat;
use crate::node_state::sync::atomic::{AtomicUsize, Ordering};
use crate::node_state::sync::{HashSet, Mutex, RwLock};
use crate::protocol::{Push, Uid, logged};

/// The part of a room on this node.
pub(crate) struct LocalRoom {
    pub(super) id: Arc<RoomId>,
    /// Held from a change of the members until other nodes have been told, so that they hear of the last change last.
    pub(super) announcing: Mutex<()>,
    pub(super) state: RwLock<RoomState>,
    _counted: CountedRoom,
}

/// One of the rooms that a node may have. Dropping it lets another one be created.
pub(super) struct CountedRoom {
    rooms: Arc<AtomicUsize>,
}

impl CountedRoom {
    /// Counts a room, unless there are already `max`.
    pub(super) fn new(rooms: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let more = |count| (count < max).then_some(count + 1);
        rooms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Self { rooms: Arc::clone(rooms) })
    }
}

impl Drop for CountedRoom {
    fn drop(&mut self) {
        self.rooms.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Default)]
pub(super) struct RoomState {
    members: HashSet<ById>,
    /// How many of the members are not the only connection of their users; one of each user's is not counted.
    repeated: usize,
    /// The members who get presence pushes.
    listeners: BTreeSet<ConnectionId>,
    /// The seats of the members who have one.
    seats: Vec<(ConnectionId, Seat)>,
    /// What this node lets the room show in lists, as JSON.
    pub(super) public: Option<Arc<str>>,
    /// Whether the room has or had a seat, or shows data, so that the cluster lists it.
    pub(super) is_listed: bool,
    /// Whether the last member has left. The next one to join creates a new room with the same name.
    pub(super) has_ended: bool,
}

/// A connection in a set that is searched by id. A map would take half as much again of each member.
struct ById(Arc<dyn Recipient>);

impl Borrow<ConnectionId> for ById {
    fn borrow(&self) -> &ConnectionId {
        &self.0.state().id
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.state().id.hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.state().id == other.0.state().id
    }
}

impl Eq for ById {}

/// The users with a connection to this node in a room at the moment of a join: the input of a
/// [`guard`](crate::room::Join::guard).
#[derive(Clone, Copy)]
pub struct Occupants<'a> {
    room: &'a RoomState,
}

impl Occupants<'_> {
    /// Returns how many users are in the room on this node. A user with several connections counts once.
    pub fn len(&self) -> usize {
        self.room.players()
    }

    /// Whether no user is in the room on this node.
    pub fn is_empty(&self) -> bool {
        self.room.members.is_empty()
    }

    /// Whether the user with this uid is in the room on this node.
    pub fn contains(&self, uid: &Uid) -> bool {
        self.room.contains_user(uid)
    }
}

impl fmt::Debug for Occupants<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Occupants").field("len", &self.len()).finish()
    }
}

impl LocalRoom {
    pub(super) fn new(name: Arc<str>, counted: CountedRoom) -> Self {
        let id = RoomId { name, family: None };
        Self { id: Arc::new(id), announcing: Mutex::default(), state: RwLock::default(), _counted: counted }
    }
}

impl RoomState {
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Returns the number of users.
    pub(super) fn players(&self) -> usize {
        self.members.len() - self.repeated
    }

    pub(super) fn occupants(&self) -> Occupants<'_> {
        Occupants { room: self }
    }

    pub(super) fn recipients(&self) -> impl Iterator<Item = &Arc<dyn Recipient>> {
        self.members.iter().map(|member| &member.0)
    }

    pub(super) fn contains(&self, connection: ConnectionId) -> bool {
        self.members.contains(&connection)
    }

    pub(super) fn contains_user(&self, uid: &Uid) -> bool {
        self.recipients().any(|member| member.state().uid == *uid)
    }

    /// Adds a member. Whether the user may have another connection in the room depends on the policy for duplicates.
    pub(super) fn insert(&mut self, recipient: &Arc<dyn Recipient>, listens: bool, duplicates: Duplicates) {
        self.repeated += usize::from(duplicates == Duplicates::Allow && self.contains_user(&recipient.state().uid));
        self.members.insert(ById(Arc::clone(recipient)));
        if listens {
            self.listeners.insert(recipient.state().id);
        }
    }

    /// Removes a member. Returns the seat that the member had.
    pub(super) fn remove(&mut self, connection: ConnectionId) -> Option<Seat> {
        if let Some(ById(member)) = self.members.take(&connection) {
            self.listeners.remove(&connection);
            let is_repeated = self.repeated > 0 && self.contains_user(&member.state().uid);
            self.repeated -= usize::from(is_repeated);
        }
        let at = self.seats.iter().position(|(id, _)| *id == connection)?;
        Some(self.seats.swap_remove(at).1)
    }

    pub(super) fn seat_of(&self, connection: ConnectionId) -> Option<&Seat> {
        self.seats.iter().find(|(id, _)| *id == connection).map(|(_, seat)| seat)
    }

    /// Records the seat of a member who has none.
    pub(super) fn sit_down(&mut self, connection: ConnectionId, seat: Seat) {
        self.seats.push((connection, seat));
        self.is_listed = true;
    }

    /// Whether a member gets presence pushes.
    pub(super) fn listens(&self, connection: ConnectionId) -> bool {
        self.listeners.contains(&connection)
    }

    /// Sends presence pushes to a member from now on.
    pub(super) fn listen(&mut self, connection: ConnectionId) {
        if self.contains(connection) {
            self.listeners.insert(connection);
        }
    }

    /// Whether any member gets presence pushes.
    pub(super) fn has_listeners(&self) -> bool {
        !self.listeners.is_empty()
    }

    /// Sends a presence push to the members of this node who asked for presence, except for some connections.
    pub(super) fn announce(
        &self,
        room: &str,
        presence: Presence,
        member: &Member,
        except: &[ConnectionId],
        fan_out: &FanOut,
    ) {
        let (room, member) = (room.to_owned(), member.clone());
        match presence {
            Presence::Joined => self.send_to_listeners(&Joined { room, member }, except, fan_out),
            Presence::Left => self.send_to_listeners(&Left { room, member }, except, fan_out),
        }
    }

    fn send_to_listeners<P: Push>(&self, push: &P, except: &[ConnectionId], fan_out: &FanOut) {
        let encoded = match fan_out.encode(push) {
            Ok((encoded, _)) => encoded,
            Err(error) => return tracing::error!(error = logged(&error), "a presence push cannot be sent"),
        };
        // The members on another thread are woken together.
        defer_while(Waker::noop(), || {
            let listeners = self.listeners.iter().filter(|listener| !except.contains(listener));
            for ById(member) in listeners.filter_map(|listener| self.members.get(listener)) {
                fan_out.send(&**member, &encoded);
            }
        });
    }
}
