//! Who is connected to this node, by uid.

use std::{
    borrow::Borrow,
    collections::{HashMap, HashSet},
    hash::{Hash, Hasher, RandomState},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    Uid,
    hub::{Duplicates, Recipient, SHARDS},
    outbox::Ending,
};

/// Every connection of this node, by uid. Spread over shards, so that players who come and go rarely wait for each
/// other.
pub(crate) struct Users {
    shards: [RwLock<Shard>; SHARDS],
    hasher: RandomState,
    /// How many claims were granted.
    granted: AtomicU64,
}

#[derive(Default)]
struct Shard {
    /// The latest connection of each uid: all of them, nearly always.
    latest: HashSet<ByUid>,
    /// Those whose uid has a later one, in the order in which they came, until they are gone.
    earlier: HashMap<Uid, Vec<Arc<dyn Recipient>>>,
}

/// A connection, found by its uid.
struct ByUid(Arc<dyn Recipient>);

impl Borrow<str> for ByUid {
    fn borrow(&self) -> &str {
        self.0.uid().as_str()
    }
}

impl Hash for ByUid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.uid().as_str().hash(state);
    }
}

impl PartialEq for ByUid {
    fn eq(&self, other: &Self) -> bool {
        self.0.uid() == other.0.uid()
    }
}

impl Eq for ByUid {}

impl Shard {
    fn of(&self, uid: &str) -> impl Iterator<Item = &Arc<dyn Recipient>> {
        self.earlier.get(uid).into_iter().flatten().chain(self.latest.get(uid).map(|latest| &latest.0))
    }
}

impl Users {
    pub(crate) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::default()),
            hasher: RandomState::new(),
            granted: AtomicU64::new(0),
        }
    }

    /// Makes a connection known. What another one of the same uid means is for the caller to act on: `Claim` says
    /// which of them are to end. All stay known until they are gone.
    pub(crate) fn claim(&self, one: Arc<dyn Recipient>, duplicates: Duplicates) -> Claim {
        let mut shard = self.write(one.uid().as_str());
        let present: Vec<_> =
            shard.of(one.uid().as_str()).filter(|holder| !holder.outbox().ends()).cloned().collect();
        if duplicates == Duplicates::Refuse && !present.is_empty() {
            // At once: it is no rival of whoever comes next.
            one.outbox().end(Ending::Close(Duplicates::Refuse.close()));
            shard.earlier.entry(one.uid().clone()).or_default().push(one);
            return Claim::Refused;
        }
        if let Some(before) = shard.latest.replace(ByUid(one)) {
            shard.earlier.entry(before.0.uid().clone()).or_default().push(before.0);
        }
        let replaced = if duplicates == Duplicates::Replace { present } else { Vec::new() };
        Claim::Granted { replaced, order: self.granted.fetch_add(1, Ordering::Relaxed) }
    }

    /// Forgets a connection; others of its uid stay.
    pub(crate) fn release(&self, one: &dyn Recipient) {
        let uid = one.uid().as_str();
        let mut shard = self.write(uid);
        let Shard { latest, earlier } = &mut *shard;
        let mut others = earlier.remove(uid).unwrap_or_default();
        others.retain(|other| other.id() != one.id());
        if latest.get(uid).is_some_and(|latest| latest.0.id() == one.id()) {
            latest.remove(uid);
            latest.extend(others.pop().map(ByUid));
        }
        if !others.is_empty() {
            earlier.insert(one.uid().clone(), others);
        }
        if latest.capacity() > 64 && latest.len() < latest.capacity() / 8 {
            // A crowd that has left leaves no space behind.
            let kept = latest.len() * 2;
            latest.shrink_to(kept);
        }
    }

    /// Calls `each` with every connection of this uid.
    pub(crate) fn each_of(&self, uid: &str, each: impl FnMut(&Arc<dyn Recipient>)) {
        self.read(uid).of(uid).for_each(each);
    }

    /// Calls `each` with every connection.
    pub(crate) fn each(&self, mut each: impl FnMut(&Arc<dyn Recipient>)) {
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            shard
                .earlier
                .values()
                .flatten()
                .chain(shard.latest.iter().map(|latest| &latest.0))
                .for_each(&mut each);
        }
    }

    fn read(&self, uid: &str) -> RwLockReadGuard<'_, Shard> {
        // Nothing between lock and unlock can panic half-way through a change.
        self.shard(uid).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, uid: &str) -> RwLockWriteGuard<'_, Shard> {
        self.shard(uid).write().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, uid: &str) -> &RwLock<Shard> {
        &self.shards[super::shard_of(&self.hasher, uid)]
    }
}

/// What became of a connection that was made known.
pub(crate) enum Claim {
    /// It is the uid's; these, which were, are to be closed. Of two of one uid the later has the higher `order`.
    Granted { replaced: Vec<Arc<dyn Recipient>>, order: u64 },
    /// Another one holds the uid: this one was told to end.
    Refused,
}
