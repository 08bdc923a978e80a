//! The rooms that one connection is in.

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
    /// The rooms that the connection is in; after its end, those that it has left at its end.
    rooms: Vec<Arc<RoomId>>,
    /// How often the connection joins.
    joins: Bucket,
    /// Whether the connection has ended. Then it is in no room, and can join none.
    has_ended: bool,
}

impl Memberships {
    /// Returns the names of the rooms that the connection is in. After its end, these are the rooms that it has left at
    /// its end, until [`forget`](Self::forget).
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.lock().rooms.iter().map(|room| Arc::clone(&room.name)).collect()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.lock().current().iter().any(|room| &*room.name == name)
    }

    /// Whether the connection has ended, and so has left its rooms or is about to leave them.
    pub(crate) fn have_ended(&self) -> bool {
        self.lock().has_ended
    }

    /// Forgets the rooms that the connection has left at its end.
    pub(crate) fn forget(&self) {
        self.lock().rooms = Vec::new();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, JoinedRooms> {
        self.0.lock()
    }
}

impl JoinedRooms {
    /// Returns the rooms that the connection is in.
    pub(super) fn current(&self) -> &[Arc<RoomId>] {
        if self.has_ended { &[] } else { &self.rooms }
    }

    /// Ends the memberships, and returns the rooms that the connection has to leave now. They are still remembered.
    pub(super) fn end(&mut self) -> Vec<Arc<RoomId>> {
        let rooms = self.current().to_vec();
        self.has_ended = true;
        rooms
    }

    /// Checks whether the connection may be in one more room.
    pub(super) fn check_may_enter(&self, max_rooms: usize) -> Result<(), JoinError> {
        if self.has_ended {
            Err(JoinError::Closed)
        } else if self.rooms.len() >= max_rooms {
            Err(JoinError::TooManyRooms(max_rooms))
        } else {
            Ok(())
        }
    }

    /// Counts one join if the rate of joins allows it.
    pub(super) fn count_join(&mut self, rate: RateLimit, now: u64) -> Result<(), JoinError> {
        if self.has_ended {
            Err(JoinError::Closed)
        } else if !self.joins.add(rate, Sent::at(now)) {
            Err(JoinError::TooOften)
        } else {
            Ok(())
        }
    }

    pub(super) fn add(&mut self, room: Arc<RoomId>) {
        // Most players are in one room, but a vector would first grow to a capacity of four.
        self.rooms.reserve_exact(1);
        self.rooms.push(room);
    }

    /// Replaces the entry of a room that the connection is in.
    pub(super) fn set_room(&mut self, room: Arc<RoomId>) {
        if let Some(known) = self.rooms.iter_mut().find(|known| known.name == room.name) {
            *known = room;
        }
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Arc<RoomId>> {
        let at = self.current().iter().position(|room| &*room.name == name)?;
        let room = self.rooms.swap_remove(at);
        if self.rooms.is_empty() {
            self.rooms = Vec::new();
        }
        Some(room)
    }

    /// Returns the room of this family that the connection is in.
    pub(super) fn room_of_family(&self, family: &str) -> Option<&Arc<RoomId>> {
        self.current().iter().find(|room| room.family.as_deref() == Some(family))
    }
}

/// Checks the name of a room: 1 to 64 bytes without control characters.
pub(super) fn check_name(name: &str) -> Result<(), JoinError> {
    if name.is_empty() || name.len() > MAX_ROOM_NAME_LEN || name.contains(is_forbidden_in_names) {
        return Err(JoinError::InvalidName);
    }
    Ok(())
}

/// Checks the prefix of rooms with seats: 1 to 27 bytes without control characters.
pub(super) fn check_prefix(prefix: &str) -> Result<(), JoinError> {
    if prefix.len() > MAX_ROOM_PREFIX_LEN || check_name(prefix).is_err() {
        return Err(JoinError::InvalidPrefix);
    }
    Ok(())
}
