//! A node without a cluster.

use std::sync::Arc;

use crate::node_state::{Cluster, JoinCluster, NodeInfo};
use crate::protocol::StartError;

/// A cluster without other nodes, for a server that joins no cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alone;

impl JoinCluster for Alone {
    fn join(&self, _: NodeInfo) -> Result<Arc<dyn Cluster>, StartError> {
        Ok(Arc::new(Self))
    }
}

impl Cluster for Alone {}
