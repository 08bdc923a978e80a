//! The clusters that [`Server::cluster`](crate::Server::cluster) accepts.

use std::sync::Arc;

use crate::node_state::JoinCluster;

/// A cluster that [`Server::cluster`](crate::Server::cluster) accepts: `Redis` or [`Memory`](crate::cluster::Memory).
#[expect(private_bounds, reason = "sealed: only the clusters of this crate implement it")]
pub trait ClusterConfig: IntoJoinCluster {}

impl<T: IntoJoinCluster> ClusterConfig for T {}

/// Converts a configuration into a cluster that a node can join. [`ClusterConfig`] hides this trait.
pub(crate) trait IntoJoinCluster {
    fn into_join_cluster(self) -> Arc<dyn JoinCluster>;
}
