//! The rooms of this node: joining, leaving, and looking up.
//!
//! A send holds a room's lock shared; a join or a leave holds it exclusively. So a member who leaves after a send gets
//! the push once, and a member who leaves before it does not get it. Locks are taken in this order: the connection's
//! memberships, the room's announcements, the room, the seats of the cluster. A shard's lock is held only for a lookup.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::node_state::bucket::RateLimit;
use crate::node_state::clock::Clock;
use crate::node_state::cluster_interface::{Address, Cluster, NodeMessage};
use crate::node_state::errors::JoinError;
use crate::node_state::fan_out::FanOut;
use crate::node_state::game_loop::RoomWatcher;
use crate::node_state::granted_seat::GrantedSeat;
use crate::node_state::limits::{Duplicates, Limits};
use crate::node_state::member::{Member, Presence};
use crate::node_state::memberships::{JoinedRooms, check_name};
use crate::node_state::recipient::{ConnectionId, Recipient};
use crate::node_state::refusals::{Limit, Refusals};
use crate::node_state::room::{CountedRoom, LocalRoom, Occupants, RoomState};
use crate::node_state::seat::Vacating;
use crate::node_state::send_gate::SendGate;
use crate::node_state::sharded::{Sharded, shrunk_capacity};
use crate::node_state::sync::atomic::{AtomicU64, AtomicUsize};
use crate::protocol::{Error, Uid};

/// The rooms of one node.
pub(crate) struct LocalRooms {
    shards: Sharded<HashMap<Arc<str>, Arc<LocalRoom>>>,
    /// Distinguishes the rooms that `fill` opens on this node from those of any other node.
    pub(super) boot: u64,
    /// The number of the next room that `fill` opens.
    pub(super) next_room: AtomicU64,
    /// The number of the next request for a seat.
    pub(super) next_seat: AtomicU64,
    pub(super) max_rooms_per_connection: usize,
    joins: RateLimit,
    max_rooms: usize,
    duplicates: Duplicates,
    /// How long the seats of a replaced connection are kept for the newer one.
    pub(super) seat_timeout: Duration,
    /// What announces a user on this node and on others passes it.
    pub(crate) gate: SendGate,
    /// The number of rooms, with those that are about to be dropped.
    count: Arc<AtomicUsize>,
    clock: Clock,
    refusals: Arc<Refusals>,
    fan_out: Arc<FanOut>,
    pub(super) cluster: Arc<dyn Cluster>,
    /// Set when the node gets its first game loop.
    pub(crate) watcher: OnceLock<Arc<dyn RoomWatcher>>,
}

/// A request to join a room by its name.
pub(crate) struct JoinRequest<'g> {
    /// Whether the member gets presence pushes.
    pub(crate) listens: bool,
    pub(crate) guard: Guard<'g>,
    /// The seat that the member has got, whose request was counted as a join.
    pub(crate) seat: Option<GrantedSeat<'g>>,
}

/// Decides whether a connection may join.
pub(crate) type Guard<'g> = Box<dyn FnOnce(Occupants<'_>) -> Result<(), Error> + Send + 'g>;

impl LocalRooms {
    pub(crate) fn new(
        boot: u64,
        limits: &Limits,
        clock: Clock,
        refusals: Arc<Refusals>,
        fan_out: Arc<FanOut>,
        cluster: Arc<dyn Cluster>,
    ) -> Self {
        Self {
            shards: Sharded::default(),
            boot,
            next_room: AtomicU64::new(1),
            next_seat: AtomicU64::new(1),
            max_rooms_per_connection: limits.max_rooms_per_connection,
            joins: limits.rates.joins,
            max_rooms: limits.max_rooms,
            duplicates: limits.duplicates,
            seat_timeout: limits.seat_timeout,
            gate: SendGate::new(limits.hands_over && cluster.hand_overs().is_some()),
            count: Arc::default(),
            clock,
            refusals,
            fan_out,
            cluster,
            watcher: OnceLock::new(),
        }
    }

    /// Adds a connection to the room of this name. If it is already a member, only `listens` may change.
    pub(crate) fn join(
        &self,
        name: &str,
        recipient: &Arc<dyn Recipient>,
        request: JoinRequest<'_>,
    ) -> Result<(), JoinError> {
        check_name(name)?;
        // Runs the session's code, so no lock may be held.
        let member = Member::new(&**recipient);
        let _passing = self.gate.pass();
        let mut joined = recipient.state().memberships.lock();
        let (mut guard, mut seat) = (Some(request.guard), request.seat);
        let id = recipient.state().id;
        loop {
            let room = self.find_or_create(name, &**recipient)?;
            let _announcing = room.announcing.lock();
            let mut state = room.state.write();
            if state.has_ended {
                drop(state);
                self.remove(&room);
                continue;
            }
            if state.contains(id) {
                if request.listens {
                    state.listen(id);
                }
                if let Some(seat) = seat.filter(|_| state.seat_of(id).is_none()) {
                    joined.set_room(seat.membership(&room.id));
                    let was_listed = state.is_listed;
                    state.sit_down(id, seat.take());
                    drop(state);
                    self.report_listed(name, was_listed);
                }
                return Ok(());
            }
            let is_new = state.len() == 0;
            let admitted = catch_unwind(AssertUnwindSafe(|| {
                match seat {
                    Some(_) => joined.check_may_enter(self.max_rooms_per_connection)?,
                    None => self.check_may_join(&mut joined, &**recipient)?,
                }
                let guard = guard.take().unwrap_or_else(|| Box::new(|_| Ok(())));
                guard(state.occupants()).map_err(JoinError::Refused)
            }));
            if !matches!(admitted, Ok(Ok(()))) {
                if is_new {
                    state.has_ended = true;
                    drop(state);
                    self.remove(&room);
                }
                return admitted.unwrap_or_else(|panic| resume_unwind(panic));
            }
            let elsewhere_too = self.enter(&room, &mut state, recipient, request.listens, Some(&member));
            let membership = seat.as_ref().map_or_else(|| Arc::clone(&room.id), |seat| seat.membership(&room.id));
            let was_listed = state.is_listed;
            if let Some(seat) = seat.take() {
                state.sit_down(id, seat.take());
            }
            let is_listed = state.is_listed;
            drop(state);
            if is_listed {
                self.report_listed(name, was_listed);
            }
            self.announce_to_other_nodes(elsewhere_too, &room, Presence::Joined, member);
            joined.add(membership);
            return Ok(());
        }
    }

    /// Removes a connection from a room. Returns whether it was a member.
    pub(crate) fn leave(&self, name: &str, recipient: &dyn Recipient) -> bool {
        if !recipient.state().memberships.contains(name) {
            return false;
        }
        let member = Member::new(recipient);
        let _passing = self.gate.pass();
        let mut joined = recipient.state().memberships.lock();
        if joined.remove(name).is_none() {
            return false;
        }
        self.exit(name, recipient, Some(member), Vacating::Now);
        true
    }

    /// Removes a connection that has ended from all its rooms. If it was replaced, its seats are kept for the newer
    /// one. Of two calls at the same time, the later waits for the earlier.
    pub(crate) fn leave_all(&self, recipient: &dyn Recipient) {
        let memberships = &recipient.state().memberships;
        // Runs the session's code, so no lock may be held.
        let (_passing, mut joined, member) = loop {
            let member = (!memberships.are_empty()).then(|| Member::new(recipient));
            let passing = self.gate.pass();
            let joined = memberships.lock();
            // The connection may have joined its first room meanwhile.
            if member.is_some() || joined.current().next().is_none() {
                break (passing, joined, member);
            }
        };
        // Joins and leaves of this connection announce under this lock too, so other nodes get the last change last.
        let rooms = joined.end();
        let when = recipient.state().vacating(self.seat_timeout);
        if let Some(member) = member {
            for id in rooms {
                self.exit(&id.name, recipient, Some(member.clone()), when);
            }
        }
    }

    /// Adds a member. If the `member` is given, announces the user on this node. Returns whether other nodes must
    /// announce the user too.
    pub(super) fn enter(
        &self,
        room: &LocalRoom,
        state: &mut RoomState,
        recipient: &Arc<dyn Recipient>,
        listens: bool,
        member: Option<&Member>,
    ) -> bool {
        if state.len() == 0 {
            self.cluster.subscribe(&room.id.name);
        }
        let elsewhere_too = member.is_some_and(|member| self.announce_here(room, state, Presence::Joined, member));
        state.insert(recipient, listens, self.duplicates);
        self.tell_watcher(room);
        elsewhere_too
    }

    /// Removes a member. If the `member` is given, announces on all nodes that the user has left.
    pub(super) fn exit(&self, name: &str, recipient: &dyn Recipient, member: Option<Member>, when: Vacating) {
        // Always found: a room exists while it has a member.
        let Some(room) = &self.find(name) else { return };
        let _announcing = room.announcing.lock();
        let mut state = room.state.write();
        let seat = state.remove(recipient.state().id);
        if state.len() == 0 {
            state.has_ended = true;
            // The room is still locked, so a connection that creates a new room of this name subscribes after this.
            self.cluster.unsubscribe(&room.id.name);
        }
        let elsewhere_too = member.filter(|member| self.announce_here(room, &state, Presence::Left, member));
        self.tell_watcher(room);
        let (has_ended, is_listed) = (state.has_ended, state.is_listed);
        drop(state);
        if let Some(seat) = seat {
            self.cluster.vacate(&seat, when);
        }
        if is_listed {
            self.cluster.report(name);
        }
        if let Some(member) = elsewhere_too {
            self.announce_to_other_nodes(true, room, Presence::Left, member);
        }
        if has_ended {
            // Only now, so that who joins next has found this room and waits for the announcement.
            self.remove(room);
        }
    }

    fn tell_watcher(&self, room: &LocalRoom) {
        if let Some(watcher) = self.watcher.get() {
            watcher.members_changed(&room.id.name);
        }
    }

    /// Announces a user who has no other connection in the room to the members of this node. Returns whether other
    /// nodes must announce the user too.
    fn announce_here(&self, room: &LocalRoom, state: &RoomState, presence: Presence, member: &Member) -> bool {
        let reaches_others = self.cluster.reaches(Address::Room(&room.id.name));
        let must_announce = (state.has_listeners() || reaches_others) && !state.contains_user(&member.uid);
        if must_announce {
            state.announce(&room.id.name, presence, member, &[], &self.fan_out);
        }
        must_announce && reaches_others
    }

    /// Asks other nodes to announce a user. No room may be locked, because a cluster in memory locks the rooms of the
    /// other nodes in this call.
    fn announce_to_other_nodes(&self, elsewhere_too: bool, room: &LocalRoom, presence: Presence, member: Member) {
        if elsewhere_too {
            // If the bus cannot be reached, other nodes see the change when they ask for the members.
            let _ = self.cluster.publish(Address::Room(&room.id.name), NodeMessage::Presence { presence, member });
        }
    }

    /// Announces a user who joined or left on another node, except to some connections. Returns `false` without doing
    /// so if the user is in the room on this node too, and so has neither joined nor left.
    pub(crate) fn announce(&self, name: &str, presence: Presence, member: &Member, except: &[ConnectionId]) -> bool {
        let Some(room) = self.find(name) else { return true };
        let state = room.state.read();
        if state.contains_user(&member.uid) {
            return false;
        }
        state.announce(name, presence, member, except, &self.fan_out);
        true
    }

    /// Returns whether a user has last joined or left the room on this node.
    pub(crate) fn presence_of(&self, name: &str, uid: &Uid) -> Presence {
        let is_present = self.find(name).is_some_and(|room| room.state.read().contains_user(uid));
        if is_present { Presence::Joined } else { Presence::Left }
    }

    /// Whether the room has a member on this node.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Returns the number of rooms.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Calls `each` with every member of a room. No connection joins or leaves meanwhile.
    pub(crate) fn for_each_member(&self, name: &str, each: impl FnMut(&Arc<dyn Recipient>)) {
        if let Some(room) = self.find(name) {
            room.state.read().recipients().for_each(each);
        }
    }

    /// Sends presence pushes to a member from now on.
    pub(crate) fn listen(&self, name: &str, recipient: &dyn Recipient) {
        if let Some(room) = self.find(name) {
            room.state.write().listen(recipient.state().id);
        }
    }

    /// Returns the rooms that the cluster lists.
    pub(crate) fn listed(&self) -> Vec<Arc<str>> {
        let rooms = self.shards.iter().flat_map(|shard| shard.read().values().cloned().collect::<Vec<_>>());
        rooms.filter(|room| room.state.read().is_listed).map(|room| Arc::clone(&room.id.name)).collect()
    }

    /// Returns the members of a room, one entry per connection.
    pub(crate) fn members(&self, name: &str) -> Vec<Member> {
        let mut recipients = Vec::new();
        self.for_each_member(name, |recipient| recipients.push(Arc::clone(recipient)));
        // Runs the sessions' code, so the room is not locked.
        recipients.iter().map(|recipient| Member::new(&**recipient)).collect()
    }

    /// Returns the first `max` rooms, sorted by name, whose names begin with the prefix and come after `after`, with
    /// the number of their members.
    pub(crate) fn list(&self, prefix: &str, after: &str, max: usize) -> Vec<(Arc<str>, usize)> {
        let mut list = Vec::new();
        let mut after: Arc<str> = after.into();
        loop {
            let wanted = max - list.len();
            let rooms = self.rooms_after(prefix, &after, wanted);
            let is_last = rooms.len() < wanted;
            // A room without members has just been created or has just ended.
            let counts = rooms.iter().map(|(name, room)| (Arc::clone(name), room.state.read().len()));
            list.extend(counts.filter(|(_, members)| *members > 0));
            match rooms.into_keys().next_back() {
                Some(name) if !is_last && list.len() < max => after = name,
                _ => return list,
            }
        }
    }

    /// Returns the first `max` rooms, also without members, whose names begin with the prefix and come after `after`.
    fn rooms_after(&self, prefix: &str, after: &str, max: usize) -> BTreeMap<Arc<str>, Arc<LocalRoom>> {
        let mut rooms = BTreeMap::new();
        for shard in self.shards.iter() {
            for (name, room) in &*shard.read() {
                if name.starts_with(prefix) && **name > *after {
                    rooms.insert(Arc::clone(name), Arc::clone(room));
                    if rooms.len() > max {
                        rooms.pop_last();
                    }
                }
            }
        }
        rooms
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<LocalRoom>> {
        self.shards.of(name).read().get(name).cloned()
    }

    /// Counts one join of a connection if the limits allow it.
    fn check_may_join(&self, joined: &mut JoinedRooms, recipient: &dyn Recipient) -> Result<(), JoinError> {
        joined.check_may_enter(self.max_rooms_per_connection)?;
        self.count_join(joined, recipient)
    }

    /// Counts one join of a connection if the rate of joins allows it.
    pub(super) fn count_join(&self, joined: &mut JoinedRooms, recipient: &dyn Recipient) -> Result<(), JoinError> {
        let checked = joined.count_join(self.joins, self.clock.now());
        if let Err(JoinError::TooOften) = checked {
            self.refusals.record_connection(Limit::JoinsPerSecond, recipient.state().id);
        }
        checked
    }

    /// Finds a room, or creates it for a connection that joins.
    pub(super) fn find_or_create(&self, name: &str, recipient: &dyn Recipient) -> Result<Arc<LocalRoom>, JoinError> {
        if let Some(room) = self.find(name) {
            return Ok(room);
        }
        let mut shard = self.shards.of(name).write();
        if let Some(room) = shard.get(name) {
            return Ok(Arc::clone(room));
        }
        let Some(counted) = CountedRoom::new(&self.count, self.max_rooms) else {
            drop(shard);
            self.refusals.record_connection(Limit::Rooms, recipient.state().id);
            return Err(JoinError::NoMoreRooms(self.max_rooms));
        };
        let name: Arc<str> = name.into();
        let room = Arc::new(LocalRoom::new(Arc::clone(&name), counted));
        shard.insert(name, Arc::clone(&room));
        Ok(room)
    }

    /// Removes a room that has ended, unless a new one already has its name.
    pub(super) fn remove(&self, room: &Arc<LocalRoom>) {
        let mut shard = self.shards.of(&room.id.name).write();
        if shard.get(&room.id.name).is_some_and(|known| Arc::ptr_eq(known, room)) {
            shard.remove(&room.id.name);
            if let Some(capacity) = shrunk_capacity(shard.len(), shard.capacity()) {
                shard.shrink_to(capacity);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake, Waker};
    use std::thread;

    use super::*;
    use crate::node_state::cluster_interface::{BoxFuture, Unavailable};
    use crate::node_state::listing::{RoomPage, RoomQuery};
    use crate::node_state::recipient::BareConnection;
    use crate::node_state::seat::{Seat, SeatRefusal, SeatRequest};
    use crate::node_state::workers;
    use crate::protocol::Syntax;

    /// A cluster without other nodes.
    struct Alone;

    impl Cluster for Alone {
        fn take_seat(&self, _: SeatRequest) -> BoxFuture<'_, Result<Seat, SeatRefusal>> {
            Box::pin(std::future::ready(Err(SeatRefusal::Full)))
        }

        fn vacate(&self, _: &Seat, _: Vacating) {}

        fn free_kept(&self, _: &Uid) {}

        fn list<'a>(&'a self, _: RoomQuery<'a>) -> BoxFuture<'a, Result<RoomPage, Unavailable>> {
            Box::pin(std::future::ready(Ok(RoomPage::default())))
        }
    }

    fn rooms() -> LocalRooms {
        let limits = Limits::default();
        let fan_out = Arc::new(FanOut::new(vec![&Syntax::DEFAULT], &limits));
        LocalRooms::new(1, &limits, Clock::start(), Arc::default(), fan_out, Arc::new(Alone))
    }

    #[derive(Default)]
    struct Roused(AtomicUsize);

    impl Wake for Roused {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A wake from another thread is a system call.
    #[test]
    fn a_presence_push_wakes_the_members_of_another_thread_together() {
        let inbox = &workers::create(2)[1];
        let (rooms, out) = (rooms(), Arc::new(Roused::default()));
        let members = [BareConnection::create(1, "ada"), BareConnection::create(2, "bob")];
        for member in &members {
            rooms.join("a", member, JoinRequest { listens: true, guard: Box::new(|_| Ok(())), seat: None }).unwrap();
        }
        thread::scope(|scope| {
            scope.spawn(|| {
                workers::become_worker(1);
                let waker = Waker::from(Arc::clone(&out));
                for member in &members {
                    let outbox = &member.state().outbox;
                    let taken = &mut Vec::new();
                    outbox.take(&mut Context::from_waker(&waker), taken, &rooms.fan_out.backlog, |_| true);
                }
            });
        });
        let eve = Member::new(&*BareConnection::create(3, "eve"));
        assert!(rooms.announce("a", Presence::Joined, &eve, &[]));
        assert_eq!(out.0.load(Ordering::Relaxed), 0, "only their thread wakes them");
        let mut emptying = pin!(inbox.keep_emptying());
        let _ = emptying.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(out.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn rooms_without_members_are_in_no_list() {
        let rooms = rooms();
        let ada = BareConnection::create(1, "ada");
        for name in ["a", "c", "e"] {
            rooms.join(name, &ada, JoinRequest { listens: false, guard: Box::new(|_| Ok(())), seat: None }).unwrap();
        }
        // As they are for a moment at their first join and after their last leave.
        for name in ["b", "d"] {
            rooms.find_or_create(name, &*ada).unwrap();
        }
        let list = |after, max| {
            let list = rooms.list("", after, max);
            assert!(list.iter().all(|(_, members)| *members == 1));
            list.into_iter().map(|(name, _)| String::from(&*name)).collect::<Vec<_>>()
        };
        assert_eq!(list("", usize::MAX), ["a", "c", "e"]);
        assert_eq!(list("", 5), ["a", "c", "e"]);
        assert_eq!(list("", 2), ["a", "c"]);
        assert_eq!(list("a", 1), ["c"]);
        assert_eq!(list("c", 2), ["e"]);
        assert_eq!(rooms.len(), 5);
        assert!(rooms.contains("a") && !rooms.contains("f"));
    }
}
