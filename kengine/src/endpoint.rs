//! A dispatcher in its node: what every connection to one path shares.

use std::sync::Arc;

use crate::{
    Dispatcher,
    handshake::Origins,
    metrics::{Count, Counters},
    node::Node,
};

#[derive(Debug)]
pub(crate) struct Endpoint<D> {
    pub(crate) dispatcher: D,
    pub(crate) node: Arc<Node>,
    pub(crate) counters: Counters,
    pub(crate) origins: Origins,
}

impl<D: Dispatcher> Endpoint<D> {
    pub(crate) fn new(dispatcher: D, node: Arc<Node>, origins: Origins) -> Self {
        Self { dispatcher, node, counters: Counters::new(D::ROUTES.len()), origins }
    }

    /// The name of a route by its index; what no route took has none.
    pub(crate) fn route_name(&self, route: Option<usize>) -> &'static str {
        let _ = self;
        route.and_then(|route| D::ROUTES.get(route)).map_or("-", |route| route.name)
    }

    /// What was counted per route.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (Count, &'static str)> {
        let names = D::ROUTES.iter().map(|route| route.name).chain(["-"]);
        self.counters.sums().into_iter().zip(names)
    }
}
