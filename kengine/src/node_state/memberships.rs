//! The rooms that one connection is in.

use std::mem;
use std::sync::Arc;

use once_cell::race::OnceBox;

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

/// The rooms that one connection is in. Uses no memory until the first join or the end of the connection.
#[derive(Default)]
pub(crate) struct Memberships(OnceBox<Mutex<JoinedRooms>>);

#[derive(Default)]
pub(super) struct JoinedRooms {
    /// The rooms that the connection is in; after its end, those that it has left at its end. The first one is apart
    /// because most players are in one room.
    first: Option<Arc<RoomId>>,
    others: Option<Box<OtherRooms>>,
    /// How often the connection joins.
    join_rate: Bucket,
    /// Whether the connection has ended. Then it is in no room, and can join none.
    has_ended: bool,
}

/// The rooms besides the first one. Boxed, so that a player in one room takes less memory.
#[derive(Default)]
struct OtherRooms(Vec<Arc<RoomId>>);

impl Memberships {
    /// Returns the names of the rooms that the connection is in. After its end, these are the rooms that it has left at
    /// its end, until [`forget`](Self::forget).
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        let names = |joined: MutexGuard<'_, JoinedRooms>| joined.rooms().map(|room| Arc::clone(&room.name)).collect();
        self.lock_used().map_or_else(Vec::new, names)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.lock_used().is_some_and(|joined| joined.current().any(|room| &*room.name == name))
    }

    /// Whether the connection is in no room.
    pub(super) fn are_empty(&self) -> bool {
        self.lock_used().is_none_or(|joined| joined.current().next().is_none())
    }

    /// Whether the connection has ended, and so has left its rooms or is about to leave them.
    pub(crate) fn have_ended(&self) -> bool {
        self.lock_used().is_some_and(|joined| joined.has_ended)
    }

    /// Forgets the rooms that the connection has left at its end.
    pub(crate) fn forget(&self) {
        if let Some(mut joined) = self.lock_used() {
            (joined.first, joined.others) = (None, None);
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, JoinedRooms> {
        self.0.get_or_init(Box::default).lock()
    }

    /// Locks the memberships, unless the connection has neither joined a room nor ended.
    fn lock_used(&self) -> Option<MutexGuard<'_, JoinedRooms>> {
        self.0.get().map(Mutex::lock)
    }
}

impl JoinedRooms {
    fn rooms(&self) -> impl Iterator<Item = &Arc<RoomId>> {
        self.first.iter().chain(self.others.iter().flat_map(|others| &others.0))
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
        } else if !self.join_rate.add(rate, Sent::at(now)) {
            Err(JoinError::TooOften)
        } else {
            Ok(())
        }
    }

    pub(super) fn add(&mut self, room: Arc<RoomId>) {
        match self.first {
            None => self.first = Some(room),
            Some(_) => self.others.get_or_insert_default().0.push(room),
        }
    }

    /// Replaces the entry of a room that the connection is in.
    pub(super) fn set_room(&mut self, room: Arc<RoomId>) {
        let mut rooms = self.first.iter_mut().chain(self.others.iter_mut().flat_map(|others| &mut others.0));
        if let Some(known) = rooms.find(|known| known.name == room.name) {
            *known = room;
        }
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Arc<RoomId>> {
        let at = self.current().position(|room| &*room.name == name)?;
        let Some(OtherRooms(rooms)) = self.others.as_deref_mut() else { return self.first.take() };
        // The last room takes the place of the one that is removed.
        let removed = match at {
            0 => mem::replace(&mut self.first, rooms.pop()),
            _ => Some(rooms.swap_remove(at - 1)),
        };
        if rooms.is_empty() {
            self.others = None;
        }
        removed
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_room_can_be_left_alone() {
        let names = ["a", "b", "c", "d"];
        for left in names {
            let mut rooms = JoinedRooms::default();
            for name in names {
                rooms.add(Arc::new(RoomId { name: name.into(), family: None }));
            }
            // Once from the full list, and then until none is left.
            for name in [left].into_iter().chain(names.into_iter().filter(|name| *name != left)) {
                assert_eq!(rooms.remove(name).map(|room| room.name.to_string()).as_deref(), Some(name));
                assert!(rooms.remove(name).is_none());
            }
            assert_eq!(rooms.current().count(), 0);
        }
    }
}
