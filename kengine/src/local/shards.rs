//! Over how many locks users and rooms are spread.

use std::hash::{BuildHasher, RandomState};

/// The number of locks.
pub(super) const SHARDS: usize = 16;

/// Returns the shard of a name.
pub(super) fn shard_of(hasher: &RandomState, name: &str) -> usize {
    // The upper four bits: a shard's own map may be keyed alike, and uses the lower ones.
    const { assert!(SHARDS <= 16, "four bits distinguish at most 16 shards") };
    usize::from((hasher.hash_one(name) >> 60) as u8) % SHARDS
}
