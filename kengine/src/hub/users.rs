//! Who is connected to this node, by uid.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::RandomState,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use crate::{
    Uid,
    hub::{Duplicates, Recipient, SHARDS},
};

/// Every connection of this node, under its uid. Spread over shards, so that players who come and go rarely wait for
/// each other.
pub(crate) struct Users {
    shards: [RwLock<Shard>; SHARDS],
    hasher: RandomState,
}

type Shard = HashMap<Uid, Holders>;

/// The connections of one uid, the latest last. Most have one.
enum Holders {
    One(Arc<dyn Recipient>),
    More(Vec<Arc<dyn Recipient>>),
}

impl Holders {
    fn all(&self) -> &[Arc<dyn Recipient>] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}

impl Users {
    pub(crate) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| RwLock::default()), hasher: RandomState::new() }
    }

    /// Makes a connection known. What another one of the same uid means is for the caller to act on: `Claim` says
    /// which of them are to end. Both stay known until they are gone.
    pub(crate) fn claim(&self, one: Arc<dyn Recipient>, duplicates: Duplicates) -> Claim {
        let mut shard = self.write(one.uid().as_str());
        match shard.entry(one.uid().clone()) {
            Entry::Vacant(place) => {
                place.insert(Holders::One(one));
                Claim::Granted { replaced: Vec::new() }
            }
            Entry::Occupied(mut place) => {
                let holders = place.get_mut();
                let present = holders.all().iter().filter(|holder| !holder.outbox().ends()).cloned();
                let present: Vec<_> = present.collect();
                *holders = Holders::More(holders.all().iter().cloned().chain([one]).collect());
                match duplicates {
                    Duplicates::Refuse if !present.is_empty() => Claim::Refused,
                    Duplicates::Replace => Claim::Granted { replaced: present },
                    Duplicates::Refuse | Duplicates::Allow => Claim::Granted { replaced: Vec::new() },
                }
            }
        }
    }

    /// Forgets a connection; others of its uid stay.
    pub(crate) fn release(&self, one: &dyn Recipient) {
        let mut shard = self.write(one.uid().as_str());
        let Some(holders) = shard.get_mut(one.uid().as_str()) else { return };
        let mut left: Vec<_> =
            holders.all().iter().filter(|holder| holder.id() != one.id()).cloned().collect();
        match left.len() {
            0 => _ = shard.remove(one.uid().as_str()),
            1 => *holders = Holders::One(left.remove(0)),
            _ => *holders = Holders::More(left),
        }
        if shard.capacity() > 64 && shard.len() < shard.capacity() / 8 {
            // A crowd that has left leaves no space behind.
            let kept = shard.len() * 2;
            shard.shrink_to(kept);
        }
    }

    /// Calls `each` with every connection of this uid.
    pub(crate) fn each_of(&self, uid: &str, each: impl FnMut(&Arc<dyn Recipient>)) {
        if let Some(holders) = self.read(uid).get(uid) {
            holders.all().iter().for_each(each);
        }
    }

    /// Calls `each` with every connection.
    pub(crate) fn each(&self, mut each: impl FnMut(&Arc<dyn Recipient>)) {
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            shard.values().flat_map(Holders::all).for_each(&mut each);
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
    /// It is the uid's; these, which were, are to be closed.
    Granted { replaced: Vec<Arc<dyn Recipient>> },
    /// Another one holds the uid.
    Refused,
}
