//! Values that are spread over several locks by name.

use std::hash::{BuildHasher, Hash};

use crate::node_state::sync::{RandomState, RwLock};

/// The number of locks. The model checks have few, because each one adds steps.
pub(super) const SHARDS: usize = if cfg!(all(test, kengine_model)) { 2 } else { 16 };

/// Values, one per shard, each with its own lock to reduce contention. The hash of a name selects the shard.
#[derive(Debug, Default)]
pub(crate) struct Sharded<T> {
    shards: [RwLock<T>; SHARDS],
    hasher: RandomState,
}

impl<T> Sharded<T> {
    /// Returns the shard of a name.
    pub(crate) fn of(&self, name: &(impl Hash + ?Sized)) -> &RwLock<T> {
        // Uses the upper four bits of the hash, because a map in the shard may hash the same name and uses the lower
        // bits.
        const { assert!(SHARDS <= 16, "four bits distinguish at most 16 shards") };
        &self.shards[usize::from((self.hasher.hash_one(name) >> 60) as u8) % SHARDS]
    }

    /// Returns the shard of this number, below [`SHARDS`].
    pub(super) fn at(&self, number: usize) -> &RwLock<T> {
        &self.shards[number]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &RwLock<T>> {
        self.shards.iter()
    }
}

/// Returns the capacity to which a map should shrink after most of its entries were removed; `None` if it need not
/// shrink.
pub(super) fn shrunk_capacity(len: usize, capacity: usize) -> Option<usize> {
    (capacity > 64 && len < capacity / 8).then_some(len * 2)
}
