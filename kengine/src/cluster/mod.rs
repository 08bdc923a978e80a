//! Clusters: nodes that share rooms and users.

pub(crate) mod alone;
#[cfg(feature = "redis")]
pub mod gateway;
pub(crate) mod memory;
#[cfg(feature = "redis")]
pub(crate) mod redis;

use std::sync::Arc;

pub use self::memory::Memory;
#[cfg(feature = "redis")]
pub use self::redis::Redis;
use crate::local::cluster_interface::JoinCluster;

/// A cluster that [`Server::cluster`](crate::Server::cluster) accepts: [`Redis`] or [`Memory`].
#[expect(private_bounds, reason = "sealed: only the clusters of this crate implement it")]
pub trait ClusterConfig: IntoJoinCluster {}

impl<T: IntoJoinCluster> ClusterConfig for T {}

/// The conversion behind [`ClusterConfig`].
pub(crate) trait IntoJoinCluster {
    fn into_join_cluster(self) -> Arc<dyn JoinCluster>;
}
