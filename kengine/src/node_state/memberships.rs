//! The rooms that one connection is in.

use std::mem;
use std::sync::Arc;

use crate::node_state::bucket::{Bucket, RateLimit, Sent};
use crate::node_state::errors::JoinError;
use crate::node_state::limits::{MAX_ROOM_NAME_LEN, MAX_ROOM_PREFIX_LEN};
use crate::node_state::sync::{Mutex, MutexGuard};
use crate::protocol::is_forbidden_in_names;

/// A room that a connection is in: its name, and the family if the connection has a seat in it.
#[derive(Debug)]
pub(crate) struct RoomId {
    pub(super) name: Arc<str>,
    pub(super) family: Option<Arc<str>>,
}

/// The rooms that one connection is in.
#[derive(Default)]
pub(crate) struct Memberships(Mutex<JoinedRooms>);

#[derive(Default)]
pub(super) struct JoinedRooms {
    /// Boxed and present only after the first join.
    joined: Option<Box<Visits>>,
    /// Whether the connection has ended. Then it is in no room, and can join none.
    has_ended: bool,
}

#[derive(Default)]
struct Visits {
    /// The rooms that the connection is in; after its end, those that it has left at its end. The first one is apart
    /// because most players are in one room.
    first: Option<Arc<RoomId>>,
    others: Vec<Arc<RoomId>>,
    /// How often the connection joins.
    join_rate: Bucket,
}

impl Memberships {
    /// Returns the names of the rooms that the connection is in. After its end, these are the rooms that it has left at
    /// its end, until [`forget`](Self::forget).
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.lock().rooms().map(|room| Arc::clone(&room.name)).collect()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.lock().current().any(|room| &*room.name == name)
    }

    /// Whether the connection has ended, and so has left its rooms or is about to leave them.
    pub(crate) fn have_ended(&self) -> bool {
        self.lock().has_ended
    }

    /// Forgets the rooms that the connection has left at its end.
    pub(crate) fn forget(&self) {
        self.lock().joined = None;
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, JoinedRooms> {
        self.0.lock()
    }
}

impl JoinedRooms {
    fn rooms(&self) -> impl Iterator<Item = &Arc<RoomId>> {
        self.joined.iter().flat_map(|joined| joined.first.iter().chain(&joined.others))
    }

    /// Returns the rooms that the connection is in.
    pub(super) fn current(&self) -> impl Iterator<Item = &Arc<RoomId>> {
        self.rooms().take(if self.has_ended { 0 } else { usize::MAX })
    }

    /// Ends the memberships, and returns the rooms that the connection has to leave now. They are still remembered.
    pub(super) fn end(&mut self) -> Vec<Arc<RoomId>> {
        let rooms = self.current().cloned().collect();
        self.has_ended = true;
        rooms
    }

    /// Checks whether the connection may be in one more room.
    pub(super) fn check_may_enter(&self, max_rooms: usize) -> Result<(), JoinError> {
        if self.has_ended {
            Err(JoinError::Closed)
        } else if self.current().count() >= max_rooms {
            Err(JoinError::TooManyRooms(max_rooms))
        } else {
            Ok(())
        }
    }

    /// Counts one join if the rate of joins allows it.
    pub(super) fn count_join(&mut self, rate: RateLimit, now: u64) -> Result<(), JoinError> {
        if self.has_ended {
            Err(JoinError::Closed)
        } else if !self.joined.get_or_insert_default().join_rate.add(rate, Sent::at(now)) {
            Err(JoinError::TooOften)
        } else {
            Ok(())
        }
    }

    pub(super) fn add(&mut self, room: Arc<RoomId>) {
        let joined = self.joined.get_or_insert_default();
        match joined.first {
            None => joined.first = Some(room),
            Some(_) => joined.others.push(room),
        }
    }

    /// Replaces the entry of a room that the connection is in.
    pub(super) fn set_room(&mut self, room: Arc<RoomId>) {
        let Some(joined) = &mut self.joined else { return };
        let mut rooms = joined.first.iter_mut().chain(&mut joined.others);
        if let Some(known) = rooms.find(|known| known.name == room.name) {
            *known = room;
        }
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Arc<RoomId>> {
        let at = self.current().position(|room| &*room.name == name)?;
        let joined = self.joined.as_mut()?;
        let last = joined.others.pop();
        if joined.others.is_empty() {
            joined.others = Vec::new();
        }
        // The last room takes the place of the one that is removed.
        match joined.others.len() {
            _ if at == 0 => mem::replace(&mut joined.first, last),
            len if at == len + 1 => last,
            _ => last.map(|last| mem::replace(&mut joined.others[at - 1], last)),
        }
    }

    /// Returns the room of this family that the connection is in.
    pub(super) fn room_of_family(&self, family: &str) -> Option<&Arc<RoomId>> {
        self.current().find(|room| room.family.as_deref() == Some(family))
    }
}

/// Checks the name of a room: 1 to 64 bytes without control characters.
pub(super) fn check_name(name: &str) -> Result<(), JoinError> {
    if is_room_name(name) { Ok(()) } else { Err(JoinError::InvalidName) }
}

/// Whether a room can have this name.
pub(crate) fn is_room_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_ROOM_NAME_LEN && !name.contains(is_forbidden_in_names)
}

/// Checks the prefix of rooms with seats: 1 to 27 bytes without control characters.
pub(super) fn check_prefix(prefix: &str) -> Result<(), JoinError> {
    if prefix.len() > MAX_ROOM_PREFIX_LEN || check_name(prefix).is_err() {
        return Err(JoinError::InvalidPrefix);
    }
    Ok(())
}
