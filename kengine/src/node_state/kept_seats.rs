//! The seats of replaced connections, kept for the newer connection of the user until it sits down again.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::node_state::memberships::RoomId;
use crate::node_state::sync::HashMap;
use crate::protocol::Uid;

/// The seats that are kept. Times are those of the node's clock.
#[derive(Default)]
pub(super) struct KeptSeats {
    users: HashMap<Uid, Vec<KeptSeat>>,
    /// How many seats are kept in each room.
    rooms: HashMap<Arc<str>, usize>,
    /// The user of each kept seat, by the end of its time and its number.
    ends: BTreeMap<(u64, u64), Uid>,
    next_number: u64,
}

struct KeptSeat {
    room: Arc<RoomId>,
    until: u64,
    number: u64,
}

impl KeptSeats {
    /// Keeps a seat for a user.
    pub(super) fn keep(&mut self, uid: &Uid, room: &Arc<RoomId>, until: u64) {
        *self.rooms.entry(Arc::clone(&room.name)).or_default() += 1;
        let number = self.next_number;
        self.next_number += 1;
        self.users.entry(uid.clone()).or_default().push(KeptSeat { room: Arc::clone(room), until, number });
        self.ends.insert((until, number), uid.clone());
    }

    /// Ends the keeping of the user's seats in a family, and returns the room of the last one.
    pub(super) fn take(&mut self, uid: &Uid, family: &str) -> Option<Arc<RoomId>> {
        self.end(uid, |seat| seat.room.family.as_deref() == Some(family))
    }

    /// Ends the keeping of all seats of a user.
    pub(super) fn forget(&mut self, uid: &Uid) {
        self.end(uid, |_| true);
    }

    /// Ends the keeping of the seats whose time is over.
    pub(super) fn expire(&mut self, now: u64) {
        while let Some(first) = self.ends.first_entry().filter(|first| first.key().0 <= now) {
            let uid = first.remove();
            self.end(&uid, |seat| seat.until <= now);
        }
    }

    /// Returns for how many users seats are kept.
    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    /// Returns how many seats are kept in a room.
    pub(super) fn in_room(&self, name: &str) -> usize {
        self.rooms.get(name).copied().unwrap_or(0)
    }

    /// Ends the keeping of some of a user's seats, and returns the room of the last of them.
    fn end(&mut self, uid: &Uid, is_over: impl Fn(&KeptSeat) -> bool) -> Option<Arc<RoomId>> {
        let seats = self.users.get_mut(uid)?;
        let mut last = None;
        seats.retain(|seat| {
            let is_over = is_over(seat);
            if is_over {
                if let Some(kept) = self.rooms.get_mut(&seat.room.name) {
                    *kept -= 1;
                    if *kept == 0 {
                        self.rooms.remove(&seat.room.name);
                    }
                }
                self.ends.remove(&(seat.until, seat.number));
                last = Some(Arc::clone(&seat.room));
            }
            !is_over
        });
        if seats.is_empty() {
            self.users.remove(uid);
        }
        if self.users.is_empty() {
            // Frees the memory that many players needed who came back at once.
            *self = Self::default();
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> Arc<RoomId> {
        Arc::new(RoomId { name: name.into(), family: Some(name.trim_end_matches(char::is_numeric).into()) })
    }

    #[test]
    fn a_seat_is_kept_until_it_is_taken_or_forgotten_or_its_time_is_over() {
        let [ada, bob] = ["ada", "bob"].map(|uid| Uid::new(uid).unwrap());
        let (duo, arena) = (room("duo-1"), room("arena-1"));
        let mut kept = KeptSeats::default();
        let taken = |room: Option<Arc<RoomId>>| room.map(|room| room.name.to_string());
        for (uid, room, until) in [(&ada, &duo, 1), (&ada, &arena, 2), (&bob, &duo, 3)] {
            kept.keep(uid, room, until);
        }
        assert_eq!((kept.in_room("duo-1"), kept.in_room("arena-1"), kept.in_room("arena-2")), (2, 1, 0));
        assert_eq!(taken(kept.take(&ada, "solo-")), None);
        assert_eq!(taken(kept.take(&ada, "duo-")).as_deref(), Some("duo-1"));
        assert_eq!(taken(kept.take(&ada, "duo-")), None);
        assert_eq!((kept.in_room("duo-1"), kept.in_room("arena-1")), (1, 1));
        kept.expire(1);
        assert_eq!(kept.in_room("arena-1"), 1);
        kept.expire(2);
        assert_eq!((kept.in_room("duo-1"), kept.in_room("arena-1")), (1, 0));
        kept.forget(&bob);
        assert_eq!(kept.in_room("duo-1"), 0);
        assert!(kept.users.is_empty() && kept.rooms.is_empty() && kept.ends.is_empty());
        // A seat that is kept again has the later end.
        kept.keep(&bob, &arena, 9);
        kept.keep(&ada, &duo, 4);
        kept.take(&ada, "duo-");
        kept.keep(&ada, &duo, 5);
        kept.expire(4);
        assert_eq!((kept.in_room("duo-1"), kept.ends.len()), (1, 2));
    }
}
