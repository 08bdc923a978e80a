//! A node's handle on a cluster in Redis.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::{task::JoinSet, time::timeout};

use crate::cluster::config::IntoJoinCluster;
use crate::cluster::redis::bus::Bus;
use crate::cluster::redis::config::Redis;
use crate::cluster::redis::connection::RESPONSE_TIMEOUT;
use crate::cluster::redis::shared_state::{Phase, SharedState};
use crate::cluster::redis::{bus_connection, directory};
use crate::http::ReservationId;
use crate::node_state::{
    Address, BoxFuture, Cluster, ClusterNode, ConnectionId, GameLoopError, Gathered, HandOvers, JoinCluster,
    LeaseAnswer, LeaseRequest, LoopFault, LoopMessage, NodeInfo, NodeMessage, RoomPage, RoomQuery, Seat, SeatRefusal,
    SeatRequest, Status, Unavailable, Vacating,
};
use crate::protocol::{StartError, Uid};

/// How long a leaving node waits until it is removed from the directory.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a draining node waits until it is off the list from which gateways choose.
const UNLIST_TIMEOUT: Duration = Duration::from_millis(250);

impl IntoJoinCluster for Redis {
    fn into_join_cluster(self) -> Arc<dyn JoinCluster> {
        Arc::new(self)
    }
}

impl JoinCluster for Redis {
    fn join(&self, info: NodeInfo) -> Result<Arc<dyn Cluster>, StartError> {
        let address = self.address(info.listens)?;
        Ok(Arc::new(RedisNode::new(self, info, Some(&address))?))
    }
}

/// The cluster for a program that is not a node: it is on the bus, but not in the directory.
#[derive(Debug)]
pub(crate) struct Outsider(pub(crate) Redis);

impl JoinCluster for Outsider {
    fn join(&self, info: NodeInfo) -> Result<Arc<dyn Cluster>, StartError> {
        Ok(Arc::new(RedisNode::new(&self.0, info, None)?))
    }
}

/// One node's handle on the cluster.
struct RedisNode {
    state: Arc<SharedState>,
    bus: Arc<Bus>,
    /// Whether the node registers in the directory. An outsider does not.
    joins_directory: bool,
    /// The tasks of the directory and the bus, which end when this is dropped.
    tasks: Mutex<JoinSet<()>>,
}

impl RedisNode {
    fn new(config: &Redis, info: NodeInfo, address: Option<&str>) -> Result<Self, StartError> {
        let state = Arc::new(SharedState::new(config, info, address.unwrap_or_default())?);
        let bus = Arc::new(Bus::new(Arc::clone(&state)));
        Ok(Self { state, bus, joins_directory: address.is_some(), tasks: Mutex::default() })
    }
}

impl Cluster for RedisNode {
    fn attach(&self, node: Weak<dyn ClusterNode>) {
        // Cannot fail, because `attach` is called only once.
        let _ = self.state.node.set(node);
    }

    fn start(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if self.joins_directory {
            tasks.spawn(directory::run(Arc::clone(&self.state)));
        }
        tasks.spawn(bus_connection::run(Arc::clone(&self.bus)));
    }

    fn load_changed(&self) {
        self.state.load_changed.notify_one();
    }

    fn redeem(&self, reservation: ReservationId) {
        self.state.redeemed().add(reservation);
        self.load_changed();
    }

    fn drain(&self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            let mut status = self.state.status.subscribe();
            self.state.advance(Phase::Draining);
            if self.status() == Status::Listed {
                // A timeout is ignored: a directory that does not answer cannot unlist the node.
                let _ = timeout(UNLIST_TIMEOUT, status.wait_for(|status| *status == Status::Unlisted)).await;
            }
            true
        })
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.state.advance(Phase::Leaving);
            let is_reachable = self.status().is_registered() || self.status() == Status::Fenced;
            let max_wait = if is_reachable { LEAVE_TIMEOUT } else { RESPONSE_TIMEOUT };
            // The directory's task ends when the node has left or cannot leave. Then the bus's task is cancelled.
            let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
            if !tasks.is_empty() && timeout(max_wait, tasks.join_next()).await.is_err() {
                tracing::warn!("the directory does not answer: this node stays in it until its lease expires");
            }
        })
    }

    fn status(&self) -> Status {
        self.state.status()
    }

    fn wait_until_known(&self) -> BoxFuture<'_, bool> {
        Box::pin(self.bus.wait_until_known())
    }

    fn reaches(&self, to: Address<&str>) -> bool {
        let Address::Room(room) = to else { return true };
        self.bus.peers.may_reach(room)
    }

    fn publish(&self, to: Address<&str>, message: NodeMessage) -> Result<(), Unavailable> {
        self.bus.publish(to, &message)
    }

    fn subscribe(&self, room: &str) {
        self.bus.peers.add(room);
    }

    fn unsubscribe(&self, room: &str) {
        self.bus.peers.remove(room);
    }

    fn subscribed<'a>(&'a self, room: &'a str) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(self.bus.subscribed(room))
    }

    fn set_away(&self, uid: &Uid, connection: ConnectionId, is_away: bool) {
        self.state.claims().set_away(uid, connection, is_away);
        self.load_changed();
    }

    fn claim(&self, uid: &Uid, connection: ConnectionId, order: u64) {
        self.state.claims().claim(uid, connection, order, Instant::now());
        self.load_changed();
    }

    fn release(&self, uid: &Uid, connection: ConnectionId) {
        self.state.claims().release(uid, connection);
        self.load_changed();
    }

    fn take_seat(&self, request: SeatRequest) -> BoxFuture<'_, Result<Seat, SeatRefusal>> {
        Box::pin(self.state.seats.take(request))
    }

    fn vacate(&self, seat: &Seat, when: Vacating) {
        self.state.seats.vacate(seat, when);
    }

    fn free_kept(&self, uid: &Uid) {
        self.state.seats.free_kept(uid);
    }

    fn report(&self, room: &str) {
        self.state.seats.report(room);
    }

    fn set_public(&self, room: &str, _: &Arc<str>) {
        self.state.seats.set_public(room);
    }

    fn list<'a>(&'a self, query: RoomQuery<'a>) -> BoxFuture<'a, Result<RoomPage, Unavailable>> {
        Box::pin(self.bus.list(query))
    }

    fn members<'a>(&'a self, room: &'a str) -> BoxFuture<'a, Gathered> {
        Box::pin(self.bus.members(room))
    }

    fn loop_lease(&self) -> Duration {
        self.state.loop_lease()
    }

    fn lease_loops<'a>(&'a self, requests: &'a [LeaseRequest]) -> BoxFuture<'a, Result<Vec<LeaseAnswer>, Unavailable>> {
        Box::pin(self.bus.lease_loops(requests))
    }

    fn send_to_loop(&self, room: &str, message: LoopMessage) -> Result<(), GameLoopError> {
        self.bus.send_to_loop(room, message)
    }

    fn answer_for_loop(&self, node: &str, number: u64, answer: Result<Bytes, LoopFault>) {
        self.bus.answer_for_loop(node, number, answer);
    }

    fn hand_overs(&self) -> Option<&dyn HandOvers> {
        Some(&*self.bus)
    }
}
