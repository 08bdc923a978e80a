//! Clusters: nodes that share rooms and users.

pub(crate) mod alone;
pub(crate) mod config;
#[cfg(feature = "redis")]
pub mod gateway;
mod lease_table;
pub(crate) mod memory;
#[cfg(feature = "redis")]
pub(crate) mod redis;

/// Returns the tag of a node, by which a gateway finds the node that has given a token: the first half of the node's
/// boot id, which is random, and which nodes of a cluster in Redis publish.
pub(crate) fn node_tag(boot: u64) -> u32 {
    // The upper half always fits.
    (boot >> u32::BITS) as u32
}

#[cfg(feature = "redis")]
pub use self::redis::Redis;
pub use self::{config::ClusterConfig, memory::Memory};
