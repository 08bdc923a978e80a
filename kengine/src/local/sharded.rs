//! A map whose keys are spread over several locks.

use std::hash::{BuildHasher, RandomState};

use parking_lot::RwLock;

/// The number of locks.
const SHARDS: usize = 16;

/// Values that are found by a name, spread over several locks to reduce contention.
#[derive(Debug, Default)]
pub(super) struct Sharded<T> {
    shards: [RwLock<T>; SHARDS],
    hasher: RandomState,
}

impl<T> Sharded<T> {
    /// Returns the shard of a name.
    pub(super) fn of(&self, name: &str) -> &RwLock<T> {
        // The upper four bits: a shard's own map may be keyed alike, and uses the lower ones.
        const { assert!(SHARDS <= 16, "four bits distinguish at most 16 shards") };
        &self.shards[usize::from((self.hasher.hash_one(name) >> 60) as u8) % SHARDS]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &RwLock<T>> {
        self.shards.iter()
    }
}

/// Returns to what capacity a map should shrink after a crowd has left; `None` if it may stay as it is.
pub(super) fn excess(len: usize, capacity: usize) -> Option<usize> {
    (capacity > 64 && len < capacity / 8).then_some(len * 2)
}
