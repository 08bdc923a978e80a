//! Rooms with seats. A family is all rooms with seats whose names have the same prefix.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::node_state::errors::JoinError;
use crate::node_state::kept_seats::KeptSeats;
use crate::node_state::memberships::{RoomId, check_name};
use crate::node_state::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::node_state::sync::{Mutex, MutexGuard};
use crate::protocol::Uid;

/// The families of rooms with seats on this node.
pub(super) struct Seating {
    families: Mutex<Families>,
    /// For how many users seats are kept. Read without the lock when a connection ends.
    kept: AtomicUsize,
    /// Distinguishes the rooms of this node from those of any other node.
    boot: u64,
    next_number: AtomicU64,
}

/// The rooms with seats, by the prefix of their names.
#[derive(Default)]
pub(super) struct Families {
    rooms: HashMap<Arc<str>, Family>,
    kept: KeptSeats,
}

/// The rooms of one family, by the number of their players.
type Family = BTreeMap<usize, BTreeSet<Arc<str>>>;

impl Seating {
    pub(super) fn new(boot: u64) -> Self {
        Self { families: Mutex::default(), kept: AtomicUsize::new(0), boot, next_number: AtomicU64::new(1) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Families> {
        self.families.lock()
    }

    /// Changes the seats that are kept.
    pub(super) fn change_kept<T>(&self, families: &mut Families, change: impl FnOnce(&mut KeptSeats) -> T) -> T {
        let changed = change(&mut families.kept);
        self.kept.store(families.kept.len(), Ordering::Relaxed);
        changed
    }

    /// Frees the seats that are kept for a user.
    pub(super) fn free_kept(&self, uid: &Uid) {
        if self.kept.load(Ordering::Relaxed) > 0 {
            self.change_kept(&mut self.lock(), |kept| kept.forget(uid));
        }
    }

    /// Returns a new name in this family. No node generates it again, but a client may have guessed it.
    pub(super) fn new_name(&self, family: &str) -> Result<Arc<str>, JoinError> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let name = format!("{family}{:x}-{number}", self.boot);
        check_name(&name)?;
        Ok(name.into())
    }
}

impl Families {
    /// Returns the fullest room of a family that has fewer than `seats` players and kept seats.
    pub(super) fn fullest_with_seat(&self, family: &str, seats: usize) -> Option<Arc<str>> {
        let rooms = self.rooms.get(family)?.range(..seats).rev();
        let mut rooms = rooms.flat_map(|(players, names)| names.iter().map(move |name| (players, name)));
        rooms.find(|(players, name)| *players + self.kept.in_room(name) < seats).map(|(_, name)| Arc::clone(name))
    }

    /// Records that the number of players of a room has changed.
    pub(super) fn update(&mut self, room: &RoomId, before: usize, now: usize) {
        let Some(family) = &room.family else { return };
        let rooms = self.rooms.entry(Arc::clone(family)).or_default();
        if let Some(names) = rooms.get_mut(&before) {
            names.remove(&room.name);
            if names.is_empty() {
                rooms.remove(&before);
            }
        }
        if now > 0 {
            rooms.entry(now).or_default().insert(Arc::clone(&room.name));
        } else if rooms.is_empty() {
            self.rooms.remove(family);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_room_with_a_seat_is_filled_and_nothing_is_kept_of_a_family_that_ended() {
        let mut families = Families::default();
        let [first, second] = ["duo-1", "duo-2"].map(|name| RoomId { name: name.into(), family: Some("duo-".into()) });
        let fullest =
            |families: &Families, seats| families.fullest_with_seat("duo-", seats).map(|name| name.to_string());
        assert_eq!(fullest(&families, 2), None);
        families.update(&first, 0, 1);
        families.update(&second, 0, 1);
        families.update(&second, 1, 2);
        assert_eq!(fullest(&families, 1), None);
        assert_eq!(fullest(&families, 2).as_deref(), Some("duo-1"));
        assert_eq!(fullest(&families, 3).as_deref(), Some("duo-2"));
        families.update(&second, 2, 1);
        families.update(&second, 1, 0);
        assert_eq!(fullest(&families, 3).as_deref(), Some("duo-1"), "the other room has ended");
        let ada = Uid::new("ada").unwrap();
        families.kept.keep(&ada, &Arc::new(RoomId { name: "duo-1".into(), family: Some("duo-".into()) }), 1);
        assert_eq!((fullest(&families, 2), fullest(&families, 3).as_deref()), (None, Some("duo-1")));
        families.kept.forget(&ada);
        assert_eq!(fullest(&families, 2).as_deref(), Some("duo-1"));
        families.update(&first, 1, 0);
        assert_eq!(fullest(&families, 3), None);
        assert!(families.rooms.is_empty());
    }
}
