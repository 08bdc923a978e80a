//! A node without a cluster.

use std::{
    future::ready,
    sync::{Arc, Weak},
};

use crate::{
    language::{start_error::StartError, uid::Uid},
    local::{
        cluster_interface::{
            Address, BoxFuture, Cluster, ClusterNode, Gathered, JoinCluster, NodeInfo, NodeMessage,
            Unavailable,
        },
        connection_id::ConnectionId,
    },
};

/// No cluster: there are no other nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alone;

impl JoinCluster for Alone {
    fn join(&self, _: NodeInfo) -> Result<Arc<dyn Cluster>, StartError> {
        Ok(Arc::new(Self))
    }
}

impl Cluster for Alone {
    fn attach(&self, _: Weak<dyn ClusterNode>) {}

    fn reaches(&self, _: Address<&str>) -> bool {
        false
    }

    fn publish(&self, _: Address<&str>, _: NodeMessage) -> Result<(), Unavailable> {
        Ok(())
    }

    fn subscribe(&self, _: &str) {}

    fn unsubscribe(&self, _: &str) {}

    fn subscribed<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(ready(Ok(())))
    }

    fn claim(&self, _: &Uid, _: ConnectionId, _: u64) {}

    fn release(&self, _: &Uid, _: ConnectionId) {}

    fn members<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Gathered> {
        Box::pin(ready(Gathered::default()))
    }
}
