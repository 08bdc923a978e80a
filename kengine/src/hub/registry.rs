//! Who is in which room of this node, and what comes of coming and going.
//!
//! Whoever sends to a room holds its lock shared, whoever comes or goes holds it alone: who was in the room before a
//! send and leaves after it gets the push once, and who has left gets none. Locks are taken in this order: the
//! connection's own list, the families, the room; a shard's is held for a look-up only.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::RandomState,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    ConnectionId, Error, Push, Uid,
    cluster::{Address, Parcel},
    hub::{
        Broadcast, JoinError, Joined, LONGEST_NAME, LONGEST_PREFIX, Left, Member, Presence, Recipient,
        RoomCount, SHARDS, shard_of,
    },
    node::{Limits, Node},
};

/// The rooms of one node.
pub(crate) struct Registry {
    shards: [RwLock<HashMap<Arc<str>, Arc<Room>>>; SHARDS],
    hasher: RandomState,
    families: Mutex<HashMap<Arc<str>, Family>>,
    /// Tells the rooms that this node makes from those of any other.
    origin: u64,
    made: AtomicU64,
}

/// The rooms that were made to be filled, by how many are in them.
type Family = BTreeMap<usize, BTreeSet<Arc<str>>>;

/// One room, for as long as somebody is in it.
pub(crate) struct Room {
    name: Arc<str>,
    /// The family that it was made in, if it was made to be filled.
    family: Option<Arc<str>>,
    inside: RwLock<Inside>,
}

#[derive(Default)]
struct Inside {
    members: HashMap<ConnectionId, Seat>,
    /// How many of them are told who comes and goes.
    told: usize,
    /// Everyone has left: who comes now makes a new one.
    ended: bool,
}

struct Seat {
    member: Arc<dyn Recipient>,
    is_told: bool,
}

/// The rooms that one connection is in.
#[derive(Default)]
pub(crate) struct Memberships(Mutex<Entered>);

#[derive(Default)]
struct Entered {
    rooms: Vec<Arc<Room>>,
    /// The connection has ended, and enters no more.
    ended: bool,
}

impl Entered {
    fn add(&mut self, room: Arc<Room>) {
        // Most players are in one room: the first growth of a list would be to four.
        self.rooms.reserve_exact(1);
        self.rooms.push(room);
    }
}

impl Memberships {
    /// The names of the rooms.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.entered().rooms.iter().map(|room| Arc::clone(&room.name)).collect()
    }

    /// Enters no more, and tells which rooms are to be left.
    fn end(&self) -> Vec<Arc<Room>> {
        let mut entered = self.entered();
        entered.ended = true;
        std::mem::take(&mut entered.rooms)
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.entered().rooms.iter().any(|room| &*room.name == name)
    }

    fn entered(&self) -> MutexGuard<'_, Entered> {
        // What may panic between lock and unlock, a guard of the user's, does so before anything has changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is in a room at the moment when somebody wants to join it: what a [`guard`](crate::Join::guard) decides by.
#[derive(Clone, Copy)]
pub struct Occupants<'a> {
    members: &'a HashMap<ConnectionId, Seat>,
}

impl Occupants<'_> {
    /// How many connections of this node are in the room.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is: the room would begin with this member.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether this user is in the room.
    pub fn contains(&self, uid: &Uid) -> bool {
        self.members.values().any(|seat| seat.member.uid() == uid)
    }
}

impl std::fmt::Debug for Occupants<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Occupants").field("len", &self.len()).finish()
    }
}

/// What a join asks for.
pub(super) struct Wish<'g> {
    pub(super) is_told: bool,
    pub(super) guard: Guard<'g>,
}

/// Lets somebody in, or not.
pub(super) type Guard<'g> = Box<dyn FnOnce(Occupants<'_>) -> Result<(), Error> + Send + 'g>;

impl Registry {
    pub(crate) fn new(origin: u64) -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::default()),
            hasher: RandomState::new(),
            families: Mutex::default(),
            origin,
            made: AtomicU64::new(1),
        }
    }

    /// Lets a connection into the room of this name. One that is in it already stays as it is, but for being told.
    pub(super) fn join(
        &self,
        name: &str,
        one: &Arc<dyn Recipient>,
        wish: Wish<'_>,
        node: &Node,
    ) -> Result<(), JoinError> {
        check_name(name)?;
        // The session's own code, under no lock of ours.
        let member = Member::new(&**one);
        let mut entered = one.memberships().entered();
        let mut guard = Some(wish.guard);
        loop {
            let room = self.find_or_make(name, None);
            let mut families = room.family.is_some().then(|| self.families());
            let mut inside = room.write();
            if inside.ended {
                drop((inside, families));
                self.forget(&room);
                continue;
            }
            if inside.contains(one.id()) {
                inside.tell(one.id(), wish.is_told);
                return Ok(());
            }
            let is_new = inside.members.is_empty();
            let admitted = catch_unwind(AssertUnwindSafe(|| {
                may_enter(&entered, &node.limits)?;
                let guard = guard.take().unwrap_or_else(|| Box::new(|_| Ok(())));
                guard(Occupants { members: &inside.members }).map_err(JoinError::Refused)
            }));
            if !matches!(admitted, Ok(Ok(()))) {
                inside.ended |= is_new;
                drop((inside, families));
                if is_new {
                    self.forget(&room);
                }
                return admitted.unwrap_or_else(|panic| resume_unwind(panic));
            }
            let abroad = room.enter(&mut inside, one, wish.is_told, &member, node);
            if let Some(families) = &mut families {
                room.moved(families, inside.members.len() - 1, inside.members.len());
            }
            drop((inside, families));
            room.announce_abroad(abroad, Presence::Joined, member, node);
            entered.add(room);
            return Ok(());
        }
    }

    /// Lets a connection into the fullest room of a family that has fewer than `seats` members, or into a new one. One
    /// that is in a room of the family stays there.
    pub(super) fn fill(
        &self,
        family: &str,
        seats: usize,
        one: &Arc<dyn Recipient>,
        is_told: bool,
        node: &Node,
    ) -> Result<Arc<str>, JoinError> {
        if check_name(family).is_err() || family.len() > LONGEST_PREFIX {
            return Err(JoinError::InvalidPrefix);
        }
        let member = Member::new(&**one);
        let mut entered = one.memberships().entered();
        let mut families = self.families();
        let is_of_family = |room: &&Arc<Room>| room.family.as_deref() == Some(family);
        if let Some(room) = entered.rooms.iter().find(is_of_family) {
            room.write().tell(one.id(), is_told);
            return Ok(Arc::clone(&room.name));
        }
        may_enter(&entered, &node.limits)?;
        let with_a_seat = |rooms: &Family| rooms.range(..seats).next_back()?.1.first().cloned();
        let mut name =
            families.get(family).and_then(with_a_seat).map_or_else(|| self.new_name(family), Ok)?;
        // Whoever empties a room of a family holds the families: it has not ended.
        let room = loop {
            let room = self.find_or_make(&name, Some(family));
            if room.family.is_some() {
                break room;
            }
            // Somebody has guessed the name, and joined by it.
            name = self.new_name(family)?;
        };
        let mut inside = room.write();
        let abroad = room.enter(&mut inside, one, is_told, &member, node);
        room.moved(&mut families, inside.members.len() - 1, inside.members.len());
        drop((inside, families));
        room.announce_abroad(abroad, Presence::Joined, member, node);
        entered.add(room);
        Ok(name)
    }

    /// Lets a connection out of a room; whether it was in it.
    pub(super) fn leave(&self, name: &str, one: &dyn Recipient, node: &Node) -> bool {
        if !one.memberships().contains(name) {
            return false;
        }
        let member = Member::new(one);
        let mut entered = one.memberships().entered();
        let Some(at) = entered.rooms.iter().position(|room| &*room.name == name) else { return false };
        let room = entered.rooms.swap_remove(at);
        if entered.rooms.is_empty() {
            entered.rooms = Vec::new();
        }
        self.let_out(&room, one, member, node);
        true
    }

    /// Lets a connection out of every room, for good: it has ended.
    pub(super) fn leave_all(&self, one: &dyn Recipient, node: &Node) {
        let rooms = one.memberships().end();
        if !rooms.is_empty() {
            let member = Member::new(one);
            for room in rooms {
                self.let_out(&room, one, member.clone(), node);
            }
        }
    }

    fn let_out(&self, room: &Arc<Room>, one: &dyn Recipient, member: Member, node: &Node) {
        let mut families = room.family.is_some().then(|| self.families());
        let mut inside = room.write();
        let abroad = room.exit(&mut inside, one, &member, node);
        if let Some(families) = &mut families {
            room.moved(families, inside.members.len() + 1, inside.members.len());
        }
        let ended = inside.ended;
        drop(inside);
        if ended {
            self.forget(room);
        }
        drop(families);
        room.announce_abroad(abroad, Presence::Left, member, node);
    }

    /// Tells those who wish to be told of what another node has seen; not of one who is here as well, and neither comes
    /// nor goes: then it is `false`.
    pub(crate) fn announce(&self, name: &str, presence: Presence, member: &Member, node: &Node) -> bool {
        let Some(room) = self.find(name) else { return true };
        let inside = room.read();
        if inside.contains_user(&member.uid) {
            return false;
        }
        inside.announce(name, presence, member, node);
        true
    }

    /// Whether somebody is in the room.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// How many rooms there are.
    #[cfg(feature = "redis")]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Calls `each` with every member of a room, which nobody joins or leaves meanwhile.
    pub(crate) fn each(&self, name: &str, mut each: impl FnMut(&Arc<dyn Recipient>)) {
        if let Some(room) = self.find(name) {
            room.read().members.values().for_each(|seat| each(&seat.member));
        }
    }

    /// Who is in a room: a user as often as connections of theirs are.
    pub(crate) fn members(&self, name: &str) -> Vec<Member> {
        let Some(room) = self.find(name) else { return Vec::new() };
        let all: Vec<_> = room.read().members.values().map(|seat| Arc::clone(&seat.member)).collect();
        all.iter().map(|member| Member::new(&**member)).collect()
    }

    /// The rooms whose names begin so, and how many are in each.
    pub(super) fn list(&self, prefix: &str) -> Vec<RoomCount> {
        let mut counts = Vec::new();
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            let rooms: Vec<_> =
                shard.values().filter(|room| room.name.starts_with(prefix)).cloned().collect();
            drop(shard);
            let counted = rooms.iter().map(|room| (room.name.to_string(), room.read().members.len()));
            counts.extend(
                counted
                    .filter(|(_, members)| *members > 0)
                    .map(|(name, members)| RoomCount { name, members }),
            );
        }
        counts.sort_by(|one, other| one.name.cmp(&other.name));
        counts
    }

    /// A name in this family that no room of any node has had.
    fn new_name(&self, family: &str) -> Result<Arc<str>, JoinError> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let name = format!("{family}{:x}-{number}", self.origin);
        check_name(&name)?;
        Ok(name.into())
    }

    fn find(&self, name: &str) -> Option<Arc<Room>> {
        self.shard(name).read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn find_or_make(&self, name: &str, family: Option<&str>) -> Arc<Room> {
        if let Some(room) = self.find(name) {
            return room;
        }
        let mut shard = self.shard(name).write().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = shard.get(name) {
            return Arc::clone(room);
        }
        let name: Arc<str> = name.into();
        let room = Room { name: Arc::clone(&name), family: family.map(Arc::from), inside: RwLock::default() };
        let room = Arc::new(room);
        shard.insert(name, Arc::clone(&room));
        room
    }

    /// Forgets a room that has ended, unless another one has its name already.
    fn forget(&self, room: &Arc<Room>) {
        let mut shard = self.shard(&room.name).write().unwrap_or_else(PoisonError::into_inner);
        if shard.get(&room.name).is_some_and(|known| Arc::ptr_eq(known, room)) {
            shard.remove(&room.name);
            if shard.capacity() > 64 && shard.len() < shard.capacity() / 8 {
                let kept = shard.len() * 2;
                shard.shrink_to(kept);
            }
        }
    }

    fn shard(&self, name: &str) -> &RwLock<HashMap<Arc<str>, Arc<Room>>> {
        &self.shards[shard_of(&self.hasher, name)]
    }

    fn families(&self) -> MutexGuard<'_, HashMap<Arc<str>, Family>> {
        // Nothing between lock and unlock can panic half-way through a change.
        self.families.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Takes a connection in, and tells those of this node who wish to be told. Whether the other nodes are to tell
    /// theirs.
    fn enter(
        &self,
        inside: &mut Inside,
        one: &Arc<dyn Recipient>,
        is_told: bool,
        member: &Member,
        node: &Node,
    ) -> bool {
        if inside.members.is_empty() {
            node.cluster.subscribe(&self.name);
        }
        let abroad = node.cluster.reaches(Address::Room(&self.name));
        let is_news = (inside.told > 0 || abroad) && !inside.contains_user(one.uid());
        if is_news {
            inside.announce(&self.name, Presence::Joined, member, node);
        }
        inside.told += usize::from(is_told);
        inside.members.insert(one.id(), Seat { member: Arc::clone(one), is_told });
        is_news && abroad
    }

    /// Lets a connection go, as [`enter`](Self::enter) takes it in.
    fn exit(&self, inside: &mut Inside, one: &dyn Recipient, member: &Member, node: &Node) -> bool {
        if let Some(seat) = inside.members.remove(&one.id()) {
            inside.told -= usize::from(seat.is_told);
        }
        if inside.members.is_empty() {
            inside.ended = true;
            // While the room is locked: whoever makes it anew has to wait, and subscribes after this.
            node.cluster.unsubscribe(&self.name);
        }
        let abroad = node.cluster.reaches(Address::Room(&self.name));
        let is_news = (inside.told > 0 || abroad) && !inside.contains_user(one.uid());
        if is_news {
            inside.announce(&self.name, Presence::Left, member, node);
        }
        is_news && abroad
    }

    /// Has the other nodes tell theirs. No lock of a room is held meanwhile: theirs are taken.
    fn announce_abroad(&self, abroad: bool, presence: Presence, member: Member, node: &Node) {
        if abroad {
            // Where the bus is away, others learn of it when they ask who is here.
            let _ = node.cluster.publish(Address::Room(&self.name), Parcel::Presence { presence, member });
        }
    }

    /// Tells its family that the room has more or fewer members than before.
    fn moved(&self, families: &mut HashMap<Arc<str>, Family>, before: usize, now: usize) {
        let Some(family) = &self.family else { return };
        let rooms = families.entry(Arc::clone(family)).or_default();
        if let Some(names) = rooms.get_mut(&before) {
            names.remove(&self.name);
            if names.is_empty() {
                rooms.remove(&before);
            }
        }
        if now > 0 {
            rooms.entry(now).or_default().insert(Arc::clone(&self.name));
        } else if rooms.is_empty() {
            families.remove(family);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Inside> {
        // What may panic between lock and unlock, code of the user's, does so before anything has changed.
        self.inside.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inside> {
        self.inside.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn contains(&self, connection: ConnectionId) -> bool {
        self.members.contains_key(&connection)
    }

    fn contains_user(&self, uid: &Uid) -> bool {
        self.members.values().any(|seat| seat.member.uid() == uid)
    }

    /// Has a member told who comes and goes from now on, if it wishes to be.
    fn tell(&mut self, connection: ConnectionId, is_told: bool) {
        if let Some(seat) = self.members.get_mut(&connection).filter(|seat| is_told && !seat.is_told) {
            seat.is_told = true;
            self.told += 1;
        }
    }

    /// Tells those of this node who wish to be told.
    fn announce(&self, room: &str, presence: Presence, member: &Member, node: &Node) {
        let (room, member) = (room.to_owned(), member.clone());
        match presence {
            Presence::Joined => self.tell_all(&Joined { room, member }, node),
            Presence::Left => self.tell_all(&Left { room, member }, node),
        }
    }

    fn tell_all<P: Push>(&self, push: &P, node: &Node) {
        let broadcast = match Broadcast::new(push, node) {
            Ok(broadcast) => broadcast,
            Err(error) => return tracing::error!(%error, "nobody can be told who comes and goes"),
        };
        for seat in self.members.values().filter(|seat| seat.is_told) {
            broadcast.send(&*seat.member, node);
        }
    }
}

fn may_enter(entered: &Entered, limits: &Limits) -> Result<(), JoinError> {
    if entered.ended {
        Err(JoinError::Closed)
    } else if entered.rooms.len() >= limits.rooms {
        Err(JoinError::TooManyRooms(limits.rooms))
    } else {
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), JoinError> {
    if name.is_empty() || name.len() > LONGEST_NAME || name.contains(char::is_control) {
        return Err(JoinError::InvalidName);
    }
    Ok(())
}
