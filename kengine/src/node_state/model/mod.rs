//! The model checks of a node's state: what holds in whatever order threads take their steps.

mod addresses;
mod deferred_wakes;
mod outbox;
mod refusals;
mod rooms;
mod seats;
mod workers;

use std::collections::{BTreeMap, BTreeSet};

use crate::node_state::bucket::RateLimit;
use crate::node_state::cluster_interface::{Address, BoxFuture, Cluster, NodeMessage, Unavailable};
use crate::node_state::limits::Limits;
use crate::node_state::listing::{RoomPage, RoomQuery};
use crate::node_state::member::Presence;
pub(crate) use crate::node_state::recipient::BareConnection;
use crate::node_state::recipient::ConnectionId;
use crate::node_state::room_table::RoomTable;
use crate::node_state::seat::{Seat, SeatRefusal, SeatRequest, Vacating};
use crate::node_state::sync::Mutex;
use crate::protocol::Uid;

/// What a node tells its cluster. Each call is a step at which another thread can go on.
#[derive(Default)]
pub(crate) struct ToldCluster(Mutex<Told>);

#[derive(Default)]
pub(crate) struct Told {
    /// The users who joined and left rooms, in the order in which other nodes hear of it.
    pub(crate) presence: Vec<(Presence, Uid)>,
    /// The rooms whose messages the node receives.
    pub(crate) subscribed: BTreeSet<String>,
    /// The connections that hold each uid.
    pub(crate) claims: BTreeMap<Uid, BTreeSet<ConnectionId>>,
    /// The rooms with seats.
    pub(crate) table: RoomTable,
}

impl ToldCluster {
    pub(crate) fn with<T>(&self, read: impl FnOnce(&Told) -> T) -> T {
        read(&self.0.lock())
    }
}

impl Cluster for ToldCluster {
    fn reaches(&self, _: Address<&str>) -> bool {
        true
    }

    fn publish(&self, _: Address<&str>, message: NodeMessage) -> Result<(), Unavailable> {
        if let NodeMessage::Presence { presence, member } = message {
            self.0.lock().presence.push((presence, member.uid));
        }
        Ok(())
    }

    fn subscribe(&self, room: &str) {
        assert!(self.0.lock().subscribed.insert(room.to_owned()), "`{room}` has its first member twice");
    }

    fn unsubscribe(&self, room: &str) {
        assert!(self.0.lock().subscribed.remove(room), "`{room}` has lost its last member twice");
    }

    fn take_seat(&self, request: SeatRequest) -> BoxFuture<'_, Result<Seat, SeatRefusal>> {
        let taken = self.0.lock().table.take(0, &request).map(|(seat, _)| seat);
        Box::pin(std::future::ready(taken.ok_or(SeatRefusal::Full)))
    }

    fn vacate(&self, seat: &Seat, when: Vacating) {
        self.0.lock().table.give_up(0, seat, when);
    }

    fn free_kept(&self, uid: &Uid) {
        self.0.lock().table.free_kept(0, uid);
    }

    fn list<'a>(&'a self, query: RoomQuery<'a>) -> BoxFuture<'a, Result<RoomPage, Unavailable>> {
        let page = self.0.lock().table.list(&query);
        Box::pin(std::future::ready(Ok(page)))
    }

    fn claim(&self, uid: &Uid, id: ConnectionId, _: u64) {
        self.0.lock().claims.entry(uid.clone()).or_default().insert(id);
    }

    fn release(&self, uid: &Uid, id: ConnectionId) {
        let claims = &mut self.0.lock().claims;
        if let Some(ids) = claims.get_mut(uid) {
            ids.remove(&id);
            if ids.is_empty() {
                claims.remove(uid);
            }
        }
    }
}

/// The default limits, without a limit of joins.
pub(crate) fn limits() -> Limits {
    let mut limits = Limits { max_connections: 100, ..Limits::default() };
    limits.rates.joins = RateLimit::new(u32::MAX, 1);
    limits
}
