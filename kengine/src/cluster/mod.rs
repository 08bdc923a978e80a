//! Clusters: nodes that share rooms and users.

pub(crate) mod alone;
pub(crate) mod config;
#[cfg(feature = "redis")]
pub mod gateway;
mod lease_table;
pub(crate) mod memory;
#[cfg(feature = "redis")]
pub(crate) mod redis;

#[cfg(feature = "redis")]
pub use self::redis::Redis;
pub use self::{config::ClusterConfig, memory::Memory};
