//! A node that knows of no other.

use std::{
    future::ready,
    sync::{Arc, Weak},
};

use super::{Address, Cluster, Enter, Gathered, Later, Parcel, Unavailable};
use crate::{ConnectionId, Duplicates, Uid, node::Node};

/// No cluster: what is here is all there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alone;

impl Enter for Alone {
    fn enter(&self, _: Weak<Node>) -> Arc<dyn Cluster> {
        Arc::new(Self)
    }
}

impl Cluster for Alone {
    fn reaches(&self, _: Address<'_>) -> bool {
        false
    }

    fn publish(&self, _: Address<'_>, _: Parcel) {}

    fn subscribe(&self, _: &str) {}

    fn unsubscribe(&self, _: &str) {}

    fn subscribed<'a>(&'a self, _: &'a str) -> Later<'a, Result<(), Unavailable>> {
        Box::pin(ready(Ok(())))
    }

    fn claim(&self, _: &Uid, _: ConnectionId, _: Duplicates) {}

    fn release(&self, _: &Uid, _: ConnectionId) {}

    fn members<'a>(&'a self, _: &'a str) -> Later<'a, Gathered> {
        Box::pin(ready(Gathered::default()))
    }
}
