//! One room of this node, from its first member to its last.

use std::{fmt, sync::Arc};

use crate::node_state::fan_out::FanOut;
use crate::node_state::limits::Duplicates;
use crate::node_state::member::{Joined, Left, Member, Presence};
use crate::node_state::memberships::RoomId;
use crate::node_state::recipient::ConnectionId;
use crate::node_state::recipient::Recipient;
use crate::node_state::seating::Seat;
use crate::node_state::sync::atomic::{AtomicUsize, Ordering};
use crate::node_state::sync::{HashMap, Mutex, RwLock};
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
    members: HashMap<ConnectionId, RoomMember>,
    /// How many of the members are not the only connection of their users; one of each user's is not counted.
    repeated: usize,
    /// How many of the members get presence pushes.
    pub(super) listeners: usize,
    /// The seats of the members who have one.
    seats: Vec<(ConnectionId, Seat)>,
    /// What this node lets the room show in lists, as JSON.
    pub(super) public: Option<Arc<str>>,
    /// Whether the room has or had a seat, or shows data, so that the cluster lists it.
    pub(super) is_listed: bool,
    /// Whether the last member has left. The next one to join creates a new room with the same name.
    pub(super) has_ended: bool,
}

struct RoomMember {
    recipient: Arc<dyn Recipient>,
    /// Whether the member gets presence pushes.
    listens: bool,
}

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
        self.members.values().map(|member| &member.recipient)
    }

    pub(super) fn contains(&self, connection: ConnectionId) -> bool {
        self.members.contains_key(&connection)
    }

    pub(super) fn contains_user(&self, uid: &Uid) -> bool {
        self.members.values().any(|member| member.recipient.state().uid == *uid)
    }

    /// Adds a member. Whether the user may have another connection in the room depends on the policy for duplicates.
    pub(super) fn insert(&mut self, recipient: &Arc<dyn Recipient>, listens: bool, duplicates: Duplicates) {
        self.repeated += usize::from(duplicates == Duplicates::Allow && self.contains_user(&recipient.state().uid));
        self.listeners += usize::from(listens);
        self.members.insert(recipient.state().id, RoomMember { recipient: Arc::clone(recipient), listens });
    }

    /// Removes a member. Returns the seat that the member had.
    pub(super) fn remove(&mut self, connection: ConnectionId) -> Option<Seat> {
        if let Some(member) = self.members.remove(&connection) {
            self.listeners -= usize::from(member.listens);
            let is_repeated = self.repeated > 0 && self.contains_user(&member.recipient.state().uid);
            self.repeated -= usize::from(is_repeated);
        }
        let at = self.seats.iter().position(|(id, _)| *id == connection)?;
        Some(self.seats.swap_remove(at).1)
    }

    pub(super) fn has_seat(&self, connection: ConnectionId) -> bool {
        self.seats.iter().any(|(id, _)| *id == connection)
    }

    /// Records the seat of a member who has none.
    pub(super) fn sit_down(&mut self, connection: ConnectionId, seat: Seat) {
        self.seats.push((connection, seat));
        self.is_listed = true;
    }

    /// Sends presence pushes to a member from now on.
    pub(super) fn listen(&mut self, connection: ConnectionId) {
        if let Some(member) = self.members.get_mut(&connection).filter(|member| !member.listens) {
            member.listens = true;
            self.listeners += 1;
        }
    }

    /// Sends a presence push to the members of this node who asked for presence.
    pub(super) fn announce(&self, room: &str, presence: Presence, member: &Member, fan_out: &FanOut) {
        let (room, member) = (room.to_owned(), member.clone());
        match presence {
            Presence::Joined => self.send_to_listeners(&Joined { room, member }, fan_out),
            Presence::Left => self.send_to_listeners(&Left { room, member }, fan_out),
        }
    }

    fn send_to_listeners<P: Push>(&self, push: &P, fan_out: &FanOut) {
        let encoded = match fan_out.encode(push) {
            Ok((encoded, _)) => encoded,
            Err(error) => return tracing::error!(error = logged(&error), "a presence push cannot be sent"),
        };
        for member in self.members.values().filter(|member| member.listens) {
            fan_out.send(&*member.recipient, &encoded);
        }
    }
}
