//! A node that knows of no other.

use std::{
    future::ready,
    net::SocketAddr,
    sync::{Arc, Weak},
};

use super::{Address, Cluster, Enter, Gathered, Later, Parcel, Unavailable};
use crate::{ConnectionId, Duplicates, Result, Uid, node::Node};

/// No cluster: what is here is all there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alone;

impl Enter for Alone {
    fn enter(&self, _: &Weak<Node>, _: u64, _: Option<SocketAddr>) -> Result<Arc<dyn Cluster>> {
        Ok(Arc::new(Self))
    }
}

impl Cluster for Alone {
    fn reaches(&self, _: Address<'_>) -> bool {
        false
    }

    fn publish(&self, _: Address<'_>, _: Parcel) -> Result<(), Unavailable> {
        Ok(())
    }

    fn subscribe(&self, _: &str) {}

    fn unsubscribe(&self, _: &str) {}

    fn subscribed<'a>(&'a self, _: &'a str) -> Later<'a, Result<(), Unavailable>> {
        Box::pin(ready(Ok(())))
    }

    fn claim(&self, _: &Uid, _: ConnectionId, _: u64, _: Duplicates) {}

    fn release(&self, _: &Uid, _: ConnectionId) {}

    fn members<'a>(&'a self, _: &'a str) -> Later<'a, Gathered> {
        Box::pin(ready(Gathered::default()))
    }
}
