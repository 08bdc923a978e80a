//! The seats of rooms and what rooms show in lists, as the directory of one node, or of several in one process. In
//! Redis the script `seats.lua` does the same.
//!
//! A seat belongs to a player, and so to a uid: connections of one uid share it. Each request for a seat has its own
//! number, and a seat is free when every request that got it has been vacated. So whoever takes a seat again, from this
//! node or another one, keeps it, in whatever order the earlier holder goes. The seat of a connection that was replaced
//! is kept for its player while nobody else holds it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use tokio::time::Instant;

use crate::node_state::listing::{MAX_SCANNED_ROOMS, RoomPage, RoomQuery, RoomSummary};
use crate::node_state::seat::{Seat, SeatRequest, Vacating, Wanted};
use crate::protocol::Uid;

/// The rooms that have seats or show data, with the players who sit there.
#[derive(Debug, Default)]
pub(crate) struct RoomTable {
    rooms: BTreeMap<Arc<str>, TableRoom>,
    families: HashMap<Arc<str>, Family>,
    kept: KeptSeats,
}

/// The seats that are kept for players who come back. They are in the table too.
#[derive(Debug, Default)]
struct KeptSeats {
    of: HashMap<Uid, Vec<KeptSeat>>,
    /// When the time of a seat of each player ends, or would have ended.
    ends: BTreeSet<(Instant, Uid)>,
}

#[derive(Debug)]
struct KeptSeat {
    until: Instant,
    node: u64,
    seat: Seat,
}

#[derive(Debug, Default)]
struct TableRoom {
    family: Option<Arc<str>>,
    /// The node that hosts the room: the one whose player took the first seat, while it has players there.
    host: u64,
    /// The number of seats; 0 if nobody has asked for one.
    seats: usize,
    /// The requests that hold the seat of each player.
    players: HashMap<Uid, Vec<Holder>>,
    /// What the room shows in lists, as JSON.
    public: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holder {
    node: u64,
    number: u64,
}

/// The rooms whose names have the same prefix, and that `fill` has opened.
#[derive(Debug, Default)]
struct Family {
    /// The rooms by the number of taken seats.
    rooms: BTreeMap<usize, BTreeSet<Arc<str>>>,
    /// The room of each player.
    players: HashMap<Uid, Arc<str>>,
}

impl RoomTable {
    /// Gives a player of a node a seat. Returns it with the node that hosts the room, or `None` if the room is full.
    ///
    /// A player who has a seat in the room, or in the family, keeps it. In a family the fullest room with a free seat
    /// comes next, rooms of the player's own node before those of others.
    pub(crate) fn take(&mut self, node: u64, request: &SeatRequest) -> Option<(Seat, u64)> {
        let (room, family) = match &request.wanted {
            Wanted::Room { name, family } => {
                (Arc::clone(name), self.rooms.get(name).and_then(|room| room.family.as_ref()).or(family.as_ref()))
            }
            Wanted::Family { family, fresh } => {
                let room = self.find(node, family, request).map(Arc::clone);
                (room.unwrap_or_else(|| self.unused_name(fresh)), Some(family))
            }
        };
        let is_free = |room: &TableRoom| room.players.len() < request.seats || room.players.contains_key(&request.uid);
        if !self.rooms.get(&room).is_none_or(is_free) {
            return None;
        }
        let seat = Seat {
            room,
            family: family.cloned(),
            seats: request.seats,
            uid: request.uid.clone(),
            number: request.number,
            host: None,
        };
        let host = self.insert(node, &seat);
        Some((seat, host))
    }

    /// Returns the room of a family for a player, unless a new one is needed.
    fn find(&self, node: u64, family: &str, request: &SeatRequest) -> Option<&Arc<str>> {
        let family = self.families.get(family)?;
        if let Some(room) = family.players.get(&request.uid) {
            return Some(room);
        }
        let free = || family.rooms.range(..request.seats).rev().flat_map(|(_, rooms)| rooms);
        let is_own = |room: &&Arc<str>| self.rooms.get(*room).is_some_and(|room| room.host == node);
        free().find(is_own).or_else(|| free().next())
    }

    /// Returns the name of a new room. A client may have guessed the `fresh` one, and have a seat there.
    fn unused_name(&self, fresh: &Arc<str>) -> Arc<str> {
        let mut name = Arc::clone(fresh);
        let mut numbers = 1..;
        while self.rooms.contains_key(&name)
            && let Some(number) = numbers.next()
        {
            name = format!("{fresh}-{number}").into();
        }
        name
    }

    /// Adds a seat, also to a room that is full. Returns the node that hosts the room.
    pub(crate) fn insert(&mut self, node: u64, seat: &Seat) -> u64 {
        let room = self.rooms.entry(Arc::clone(&seat.room)).or_default();
        if room.players.is_empty() {
            room.host = node;
        }
        if room.family.is_none() {
            room.family.clone_from(&seat.family);
        }
        room.seats = seat.seats;
        let before = room.players.len();
        room.players.entry(seat.uid.clone()).or_default().push(Holder { node, number: seat.number });
        let now = room.players.len();
        if let Some(family) = room.family.clone() {
            let family = self.families.entry(family).or_default();
            family.players.insert(seat.uid.clone(), Arc::clone(&seat.room));
            family.resize(&seat.room, before, now);
        }
        for KeptSeat { node, seat, .. } in self.kept.take(&seat.uid, |kept| kept.seat.room == seat.room) {
            self.vacate(node, &seat);
        }
        self.rooms.get(&seat.room).map_or(node, |room| room.host)
    }

    /// Gives up a seat, or keeps it for its player.
    pub(crate) fn give_up(&mut self, node: u64, seat: &Seat, when: Vacating) {
        if !self.keep(node, seat, when) {
            self.vacate(node, seat);
        }
    }

    /// Removes the request that got a seat. The seat is free if no other request holds it. Returns whether the node
    /// holds no seat in the room any more.
    pub(crate) fn vacate(&mut self, node: u64, seat: &Seat) -> bool {
        self.retain(&seat.room, |holder| *holder != Holder { node, number: seat.number }, Some(&seat.uid));
        let is_own = |room: &TableRoom| room.players.values().flatten().any(|holder| holder.node == node);
        !self.rooms.get(&seat.room).is_some_and(is_own)
    }

    /// Keeps a seat for its player, unless it is given up now or another request of the player holds it. Returns
    /// whether it is kept.
    pub(crate) fn keep(&mut self, node: u64, seat: &Seat, when: Vacating) -> bool {
        let Vacating::KeptFor(time) = when else { return false };
        let holders = self.rooms.get(&seat.room).and_then(|room| room.players.get(&seat.uid));
        let is_kept = holders.is_some_and(|holders| *holders == [Holder { node, number: seat.number }]);
        if is_kept {
            self.kept.add(KeptSeat { until: Instant::now() + time, node, seat: seat.clone() });
        }
        is_kept
    }

    /// Returns the seats of a node that are kept for a player, which are not kept any more. They are still in the
    /// table.
    pub(crate) fn take_kept(&mut self, node: u64, uid: &Uid) -> Vec<Seat> {
        self.kept.take(uid, |kept| kept.node == node).into_iter().map(|kept| kept.seat).collect()
    }

    /// Frees the seats of a node that are kept for a player.
    pub(crate) fn free_kept(&mut self, node: u64, uid: &Uid) {
        for seat in self.take_kept(node, uid) {
            self.vacate(node, &seat);
        }
    }

    /// Returns when to look again for seats that are not kept any more.
    #[cfg(feature = "redis")]
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.kept.ends.first().map(|(until, _)| *until)
    }

    /// Returns the seats whose players have not come back in time. They are still in the table.
    pub(crate) fn take_expired(&mut self) -> Vec<(u64, Seat)> {
        self.kept.take_expired().into_iter().map(|kept| (kept.node, kept.seat)).collect()
    }

    /// Vacates the seats whose players have not come back in time.
    pub(crate) fn expire(&mut self) {
        for (node, seat) in self.take_expired() {
            self.vacate(node, &seat);
        }
    }

    /// Removes the seats of a node that has left.
    pub(crate) fn forget(&mut self, node: u64) {
        for room in self.rooms.keys().cloned().collect::<Vec<_>>() {
            self.retain(&room, |holder| holder.node != node, None);
        }
        self.kept.forget(node);
    }

    /// Sets what a room shows in lists.
    pub(crate) fn set_public(&mut self, room: &str, public: Arc<str>) {
        self.rooms.entry(room.into()).or_default().public = Some(public);
    }

    /// Removes what a room has shown, because it has no member on any node.
    pub(crate) fn end(&mut self, name: &str) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.public = None;
            if room.players.is_empty() {
                self.rooms.remove(name);
            }
        }
    }

    /// Returns the rooms that a query selects, with all fields but the members and the nodes.
    pub(crate) fn list(&self, query: &RoomQuery<'_>) -> RoomPage {
        let RoomQuery { prefix, after, .. } = *query;
        let start = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
        let mut page = RoomPage::default();
        let rooms = self.rooms.range::<str, _>((start, Bound::Unbounded));
        let mut rooms = rooms.take_while(|(name, _)| name.starts_with(prefix)).peekable();
        for (name, room) in rooms.by_ref().take(MAX_SCANNED_ROOMS) {
            let summary = RoomSummary::new(name, room.seats, room.players.len(), room.public.as_deref());
            if !query.with_free_seats || summary.has_free_seat() {
                page.rooms.push(summary);
            }
            page.next = Some(name.to_string());
            if page.rooms.len() >= query.max {
                break;
            }
        }
        if rooms.peek().is_none() {
            page.next = None;
        }
        page
    }

    /// Returns every seat of a room, and whether it is kept for a player who comes back.
    #[cfg(feature = "redis")]
    pub(crate) fn seats_of(&self, name: &str) -> Vec<(Seat, bool)> {
        let Some((name, room)) = self.rooms.get_key_value(name) else { return Vec::new() };
        let holders = room.players.iter().flat_map(|(uid, holders)| holders.iter().map(move |holder| (uid, holder)));
        let seat = |(uid, holder): (&Uid, &Holder)| Seat {
            room: Arc::clone(name),
            family: room.family.clone(),
            seats: room.seats,
            uid: uid.clone(),
            number: holder.number,
            host: None,
        };
        holders.map(seat).map(|seat| (seat.clone(), self.kept.contains(&seat))).collect()
    }

    /// Returns the names of the rooms.
    #[cfg(feature = "redis")]
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.rooms.keys()
    }

    /// Removes the requests that are not wanted in a room, of one player or of all.
    fn retain(&mut self, name: &Arc<str>, wanted: impl Fn(&Holder) -> bool, of: Option<&Uid>) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        let before = room.players.len();
        let mut gone = Vec::new();
        let mut retain = |uid: &Uid, holders: &mut Vec<Holder>| {
            holders.retain(&wanted);
            if holders.is_empty() {
                gone.push(uid.clone());
            }
        };
        match of {
            Some(uid) => _ = room.players.get_mut(uid).map(|holders| retain(uid, holders)),
            None => room.players.iter_mut().for_each(|(uid, holders)| retain(uid, holders)),
        }
        for uid in &gone {
            room.players.remove(uid);
        }
        let mut holders = room.players.values().flatten();
        if let Some(first) = holders.next().copied()
            && first.node != room.host
            && !holders.any(|holder| holder.node == room.host)
        {
            room.host = first.node;
        }
        let now = room.players.len();
        if let Some(name_of_family) = &room.family
            && let Some(family) = self.families.get_mut(name_of_family)
        {
            for uid in &gone {
                if family.players.get(uid) == Some(name) {
                    family.players.remove(uid);
                }
            }
            family.resize(name, before, now);
            if family.rooms.is_empty() {
                self.families.remove(name_of_family);
            }
        }
        if now == 0 {
            (room.seats, room.family) = (0, None);
            if room.public.is_none() {
                self.rooms.remove(name);
            }
        }
    }
}

impl KeptSeats {
    fn add(&mut self, kept: KeptSeat) {
        self.ends.insert((kept.until, kept.seat.uid.clone()));
        self.of.entry(kept.seat.uid.clone()).or_default().push(kept);
    }

    /// Removes some seats of a player.
    fn take(&mut self, uid: &Uid, is_over: impl Fn(&KeptSeat) -> bool) -> Vec<KeptSeat> {
        let Some(seats) = self.of.remove(uid) else { return Vec::new() };
        let (over, kept): (Vec<_>, Vec<_>) = seats.into_iter().partition(is_over);
        if !kept.is_empty() {
            self.of.insert(uid.clone(), kept);
        } else if self.of.is_empty() {
            // Frees the memory that many players needed who came back at once.
            *self = Self::default();
        }
        over
    }

    fn take_expired(&mut self) -> Vec<KeptSeat> {
        let mut over = Vec::new();
        let now = Instant::now();
        while self.ends.first().is_some_and(|(until, _)| *until <= now)
            && let Some((_, uid)) = self.ends.pop_first()
        {
            over.extend(self.take(&uid, |kept| kept.until <= now));
        }
        over
    }

    /// Removes the seats of a node that has left.
    fn forget(&mut self, node: u64) {
        self.of.retain(|_, seats| {
            seats.retain(|kept| kept.node != node);
            !seats.is_empty()
        });
    }

    #[cfg(feature = "redis")]
    fn contains(&self, seat: &Seat) -> bool {
        let mut kept = self.of.get(&seat.uid).into_iter().flatten();
        kept.any(|kept| kept.seat.room == seat.room && kept.seat.number == seat.number)
    }
}

impl Family {
    /// Records that the number of taken seats of a room has changed.
    fn resize(&mut self, room: &Arc<str>, before: usize, now: usize) {
        if let Some(rooms) = self.rooms.get_mut(&before) {
            rooms.remove(room);
            if rooms.is_empty() {
                self.rooms.remove(&before);
            }
        }
        if now > 0 {
            self.rooms.entry(now).or_default().insert(Arc::clone(room));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::node_state::seat::WhenAway;

    fn request(wanted: Wanted, seats: usize, uid: &str, number: u64) -> SeatRequest {
        SeatRequest { wanted, seats, uid: Uid::new(uid).unwrap(), number, when_away: WhenAway::Refuse }
    }

    /// Fills a room of the family `duo-`. A new one gets the number of the request.
    fn fill(table: &mut RoomTable, node: u64, uid: &str, number: u64) -> (Seat, u64) {
        let wanted = Wanted::Family { family: "duo-".into(), fresh: format!("duo-{number}").into() };
        table.take(node, &request(wanted, 2, uid, number)).unwrap()
    }

    fn name(seat: &(Seat, u64)) -> &str {
        &seat.0.room
    }

    #[test]
    fn the_fullest_room_comes_first_and_those_of_the_own_node_before_others() {
        let mut table = RoomTable::default();
        let ada = fill(&mut table, 1, "ada", 1);
        let bob = fill(&mut table, 2, "bob", 2);
        assert_eq!((name(&ada), name(&bob), bob.1), ("duo-1", "duo-1", 1), "a free seat of another node");
        let cleo = fill(&mut table, 2, "cleo", 3);
        let dan = fill(&mut table, 1, "dan", 4);
        assert_eq!((name(&cleo), name(&dan)), ("duo-3", "duo-3"));
        table.vacate(1, &ada.0);
        table.vacate(1, &dan.0);
        // Bob's room is of his node now, because only he is left there.
        assert_eq!(name(&fill(&mut table, 2, "eve", 5)), "duo-1");
        assert_eq!(name(&fill(&mut table, 1, "fay", 6)), "duo-3");
        table.forget(2);
        assert_eq!(table.rooms.len(), 1, "only fay is left");
        table.forget(1);
        assert!(table.rooms.is_empty() && table.families.is_empty());
    }

    #[test]
    fn a_player_has_one_seat_until_every_holder_has_vacated_it() {
        let mut table = RoomTable::default();
        let older = fill(&mut table, 1, "ada", 1);
        fill(&mut table, 1, "bob", 2);
        let newer = fill(&mut table, 2, "ada", 1);
        assert_eq!(name(&newer), name(&older), "the room is full, but she sits there");
        table.vacate(1, &older.0);
        let full = request(Wanted::Room { name: "duo-1".into(), family: None }, 2, "cleo", 3);
        assert!(table.take(1, &full).is_none());
        table.vacate(2, &newer.0);
        table.vacate(2, &newer.0);
        assert_eq!(table.take(1, &full).unwrap().0.family.as_deref(), Some("duo-"));
    }

    #[test]
    fn a_room_that_is_opened_again_by_its_name_is_filled() {
        let mut table = RoomTable::default();
        let again = |family: Option<&str>| Wanted::Room { name: "duo-1".into(), family: family.map(Arc::from) };
        let (ada, _) = table.take(1, &request(again(None), 2, "ada", 1)).unwrap();
        assert_eq!(name(&fill(&mut table, 1, "bob", 2)), "duo-2", "a room that only has seats");
        let (cleo, _) = table.take(1, &request(again(Some("duo-")), 2, "cleo", 3)).unwrap();
        assert!(table.take(1, &request(again(Some("duo-")), 2, "dan", 4)).is_none());
        table.vacate(1, &ada);
        table.vacate(1, &cleo);
        table.take(1, &request(again(Some("duo-")), 2, "cleo", 5)).unwrap();
        assert_eq!(name(&fill(&mut table, 1, "cleo", 6)), "duo-1", "her room");
        assert_eq!(fill(&mut table, 1, "dan", 7).0.family.as_deref(), Some("duo-"));
        assert_eq!(name(&fill(&mut table, 1, "eve", 8)), "duo-2");
        let mut rooms: Vec<_> = table.rooms.iter().map(|(name, room)| (&**name, room.players.len())).collect();
        rooms.sort_unstable();
        assert_eq!(rooms, [("duo-1", 2), ("duo-2", 2)]);
        table.forget(1);
        assert!(table.rooms.is_empty() && table.families.is_empty());
    }

    const TIMEOUT: Duration = Duration::from_secs(7);

    /// A connection of this player with this seat is replaced.
    fn replace(table: &mut RoomTable, node: u64, seat: &(Seat, u64)) {
        table.expire();
        table.give_up(node, &seat.0, Vacating::KeptFor(TIMEOUT));
    }

    fn check_empty(table: &RoomTable) {
        assert!(table.rooms.is_empty() && table.families.is_empty());
        assert!(table.kept.of.is_empty() && table.kept.ends.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_seat_is_kept_for_a_player_who_comes_back() {
        let mut table = RoomTable::default();
        let older = fill(&mut table, 1, "ada", 1);
        replace(&mut table, 1, &older);
        tokio::time::advance(TIMEOUT.saturating_sub(Duration::from_millis(1))).await;
        table.expire();
        assert_ne!(table.rooms.len(), 0, "the seat is kept");
        let newer = fill(&mut table, 2, "ada", 2);
        assert_eq!((name(&newer), newer.1), (name(&older), 2), "the room is of the node to which she came back");
        // Now only the newer connection holds it: it is free as soon as that one leaves.
        tokio::time::advance(TIMEOUT).await;
        table.expire();
        assert_eq!(table.rooms.len(), 1);
        table.vacate(2, &newer.0);
        check_empty(&table);
        // The end of its time, and the end of the newer connection on the same node, free a kept seat.
        let ada = fill(&mut table, 1, "ada", 3);
        replace(&mut table, 1, &ada);
        tokio::time::advance(TIMEOUT).await;
        table.expire();
        check_empty(&table);
        let ada = fill(&mut table, 1, "ada", 4);
        replace(&mut table, 1, &ada);
        table.free_kept(2, &ada.0.uid);
        assert_eq!(table.rooms.len(), 1, "another node does not keep it");
        table.free_kept(1, &ada.0.uid);
        check_empty(&table);
    }

    #[tokio::test(start_paused = true)]
    async fn a_seat_is_not_kept_that_the_newer_connection_holds_already() {
        let mut table = RoomTable::default();
        let older = fill(&mut table, 1, "ada", 1);
        let newer = fill(&mut table, 2, "ada", 1);
        replace(&mut table, 1, &older);
        assert!(table.kept.of.is_empty());
        table.give_up(2, &newer.0, Vacating::Now);
        check_empty(&table);
    }

    #[tokio::test(start_paused = true)]
    async fn seats_that_are_kept_again_have_the_later_end() {
        let mut table = RoomTable::default();
        let first = fill(&mut table, 1, "ada", 1);
        replace(&mut table, 1, &first);
        tokio::time::advance(TIMEOUT / 2).await;
        let second = fill(&mut table, 1, "ada", 2);
        replace(&mut table, 1, &second);
        tokio::time::advance(TIMEOUT / 2).await;
        table.expire();
        assert_eq!(table.rooms.len(), 1);
        table.forget(1);
        assert!(table.rooms.is_empty() && table.kept.of.is_empty());
    }
}
