//! A node without a cluster.

use std::future::ready;
use std::sync::Arc;

use crate::cluster::lease_table::LeaseTable;
use crate::node_state::{BoxFuture, Cluster, JoinCluster, LeaseAnswer, LeaseRequest, NodeInfo, Unavailable};
use crate::protocol::StartError;

/// A cluster without other nodes, for a server that joins no cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alone;

impl JoinCluster for Alone {
    fn join(&self, _: NodeInfo) -> Result<Arc<dyn Cluster>, StartError> {
        Ok(Arc::new(LoneNode::default()))
    }
}

/// The only node.
#[derive(Default)]
struct LoneNode {
    leases: LeaseTable,
}

impl Cluster for LoneNode {
    fn lease_loops<'a>(&'a self, requests: &'a [LeaseRequest]) -> BoxFuture<'a, Result<Vec<LeaseAnswer>, Unavailable>> {
        let answers = requests.iter().map(|request| self.leases.answer(0, request)).collect();
        Box::pin(ready(Ok(answers)))
    }
}
