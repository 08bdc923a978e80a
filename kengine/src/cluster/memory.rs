//! A cluster in memory, for several servers in one process.

use std::collections::HashMap;
use std::fmt;
use std::future::ready;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::cluster::config::IntoJoinCluster;
use crate::cluster::lease_table::LeaseTable;
use crate::node_state::{
    Address, BoxFuture, Cluster, ClusterNode, ConnectionId, Duplicates, GameLoopError, Gathered, JoinCluster,
    LeaseAnswer, LeaseRequest, LoopFault, LoopMessage, NodeInfo, NodeMessage, RoomPage, RoomQuery, RoomTable, Seat,
    SeatRefusal, SeatRequest, Unavailable, Vacating,
};
use crate::protocol::{StartError, Uid};

/// A cluster in memory: several servers of one process that share rooms and users. Use it to test what spans several
/// nodes, without Redis.
///
/// ```
/// use kengine::{Server, cluster::Memory};
/// # struct Game;
/// # #[kengine::dispatcher]
/// # impl Game { #[route] async fn ping(&self) {} }
///
/// let cluster = Memory::new();
/// let one = Server::new(Game).cluster(&cluster);
/// let other = Server::new(Game).cluster(&cluster);
/// # let _ = (one, other);
/// ```
#[derive(Clone, Default)]
pub struct Memory {
    shared: Arc<SharedMemory>,
}

#[derive(Default)]
struct SharedMemory {
    next_number: AtomicU64,
    nodes: RwLock<HashMap<u64, Weak<dyn ClusterNode>>>,
    /// The nodes that have a member in each room.
    rooms: RwLock<HashMap<Box<str>, Vec<u64>>>,
    owners: Mutex<HashMap<Uid, UidOwner>>,
    /// Locked while a room of a node is locked, so no room may be locked under it.
    table: Mutex<RoomTable>,
    /// Where the nodes listen that have an address.
    addresses: RwLock<HashMap<u64, SocketAddr>>,
    leases: LeaseTable,
}

/// The connection that has a uid.
#[derive(Clone, Copy)]
struct UidOwner {
    node: u64,
    connection: ConnectionId,
    order: u64,
    /// Whether the player is away, and does not keep the uid from a newer connection.
    is_away: bool,
}

impl Memory {
    /// Creates a cluster without nodes.
    pub fn new() -> Self {
        Self::default()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("nodes", &self.shared.nodes.read().len()).finish()
    }
}

impl IntoJoinCluster for Memory {
    fn into_join_cluster(self) -> Arc<dyn JoinCluster> {
        Arc::new(self)
    }
}

impl IntoJoinCluster for &Memory {
    fn into_join_cluster(self) -> Arc<dyn JoinCluster> {
        Arc::new(self.clone())
    }
}

impl JoinCluster for Memory {
    fn join(&self, node: NodeInfo) -> Result<Arc<dyn Cluster>, StartError> {
        let number = self.shared.next_number.fetch_add(1, Ordering::Relaxed);
        if let Some(address) = node.listens {
            self.shared.addresses.write().insert(number, address);
        }
        Ok(Arc::new(MemoryNode { shared: Arc::clone(&self.shared), number, duplicates: node.duplicates }))
    }
}

/// One node's handle on the cluster. The node leaves when the handle is dropped.
struct MemoryNode {
    shared: Arc<SharedMemory>,
    number: u64,
    duplicates: Duplicates,
}

impl MemoryNode {
    /// Returns the address of another node.
    fn address_of(&self, node: u64) -> Option<Arc<str>> {
        let addresses = self.shared.addresses.read();
        addresses.get(&node).filter(|_| node != self.number).map(|address| address.to_string().into())
    }

    fn node(&self, number: u64) -> Option<Arc<dyn ClusterNode>> {
        self.shared.nodes.read().get(&number).and_then(Weak::upgrade)
    }

    /// Returns the other nodes that may have a connection at this address.
    fn others(&self, to: Address<&str>) -> Vec<Arc<dyn ClusterNode>> {
        let nodes = self.shared.nodes.read();
        let node = |number: &u64| nodes.get(number).and_then(Weak::upgrade);
        let is_other = |number: &&u64| **number != self.number;
        match to {
            Address::Room(room) => {
                let rooms = self.shared.rooms.read();
                rooms.get(room).into_iter().flatten().filter(is_other).filter_map(node).collect()
            }
            Address::User(_) | Address::Everybody => nodes.keys().filter(is_other).filter_map(node).collect(),
        }
    }
}

impl Cluster for MemoryNode {
    fn attach(&self, node: Weak<dyn ClusterNode>) {
        self.shared.nodes.write().insert(self.number, node);
    }

    fn reaches(&self, to: Address<&str>) -> bool {
        if self.shared.nodes.read().len() == 1 {
            return false;
        }
        let Address::Room(room) = to else { return true };
        let rooms = self.shared.rooms.read();
        rooms.get(room).is_some_and(|nodes| nodes.iter().any(|node| *node != self.number))
    }

    fn publish(&self, to: Address<&str>, message: NodeMessage) -> Result<(), Unavailable> {
        for node in self.others(to) {
            // Nothing depends on which node it was.
            node.receive("", to, &message);
        }
        Ok(())
    }

    fn subscribe(&self, room: &str) {
        let mut rooms = self.shared.rooms.write();
        match rooms.get_mut(room) {
            Some(nodes) => nodes.push(self.number),
            None => _ = rooms.insert(room.into(), vec![self.number]),
        }
    }

    fn unsubscribe(&self, room: &str) {
        let mut rooms = self.shared.rooms.write();
        if let Some(nodes) = rooms.get_mut(room) {
            nodes.retain(|node| *node != self.number);
            if nodes.is_empty() {
                rooms.remove(room);
                self.shared.table.lock().end(room);
            }
        }
    }

    fn take_seat(&self, request: SeatRequest) -> BoxFuture<'_, Result<Seat, SeatRefusal>> {
        let mut table = self.shared.table.lock();
        table.expire();
        let taken = table.take(self.number, &request);
        let taken = taken.map(|(seat, host)| Seat { host: self.address_of(host), ..seat });
        Box::pin(ready(taken.ok_or(SeatRefusal::Full)))
    }

    fn vacate(&self, seat: &Seat, when: Vacating) {
        let mut table = self.shared.table.lock();
        table.expire();
        table.give_up(self.number, seat, when);
    }

    fn free_kept(&self, uid: &Uid) {
        self.shared.table.lock().free_kept(self.number, uid);
    }

    fn set_public(&self, room: &str, public: &Arc<str>) {
        self.shared.table.lock().set_public(room, Arc::clone(public));
    }

    fn list<'a>(&'a self, query: RoomQuery<'a>) -> BoxFuture<'a, Result<RoomPage, Unavailable>> {
        let mut page = {
            let mut table = self.shared.table.lock();
            table.expire();
            table.list(&query)
        };
        let nodes = self.shared.nodes.read().clone();
        let nodes: Vec<_> = nodes.into_iter().filter_map(|(number, node)| Some((number, node.upgrade()?))).collect();
        let addresses = self.shared.addresses.read();
        for room in &mut page.rooms {
            for (number, node) in &nodes {
                let members = node.listing(&room.name).0;
                room.members += members;
                room.nodes.extend(addresses.get(number).filter(|_| members > 0).map(ToString::to_string));
            }
            room.nodes.sort_unstable();
        }
        page.rooms.retain(|room| room.members + room.taken > 0);
        Box::pin(ready(Ok(page)))
    }

    fn claim(&self, uid: &Uid, connection: ConnectionId, order: u64) {
        let owner = UidOwner { node: self.number, connection, order, is_away: false };
        let mut owners = self.shared.owners.lock();
        let earlier = owners.get(uid).copied();
        if earlier.is_some_and(|earlier| earlier.node == self.number && earlier.order > order) {
            return;
        }
        let earlier = earlier.filter(|earlier| earlier.node != self.number);
        let is_refused = earlier.is_some_and(|earlier| !earlier.is_away) && self.duplicates == Duplicates::Refuse;
        if !is_refused {
            owners.insert(uid.clone(), owner);
        }
        let loser = if is_refused { Some(owner) } else { earlier };
        drop(owners);
        let Some(loser) = loser else { return };
        if let Some(node) = self.node(loser.node) {
            node.lose_uid(uid, loser.connection, self.duplicates);
        }
    }

    fn set_away(&self, uid: &Uid, connection: ConnectionId, is_away: bool) {
        if let Some(owner) = self.shared.owners.lock().get_mut(uid)
            && (owner.node, owner.connection) == (self.number, connection)
        {
            owner.is_away = is_away;
        }
    }

    fn release(&self, uid: &Uid, connection: ConnectionId) {
        let mut owners = self.shared.owners.lock();
        let is_own = |owner: &UidOwner| owner.node == self.number && owner.connection == connection;
        if owners.get(uid).is_some_and(is_own) {
            owners.remove(uid);
        }
    }

    fn members<'a>(&'a self, room: &'a str) -> BoxFuture<'a, Gathered> {
        let nodes = self.others(Address::Room(room));
        let members = nodes.iter().flat_map(|node| node.members(room)).collect();
        Box::pin(ready(Gathered { members, is_partial: false }))
    }

    fn lease_loops<'a>(&'a self, requests: &'a [LeaseRequest]) -> BoxFuture<'a, Result<Vec<LeaseAnswer>, Unavailable>> {
        let answers = requests.iter().map(|request| self.shared.leases.answer(self.number, request)).collect();
        Box::pin(ready(Ok(answers)))
    }

    fn send_to_loop(&self, room: &str, message: LoopMessage) -> Result<(), GameLoopError> {
        let holder = self.shared.leases.holder(room).and_then(|number| self.node(number));
        holder.ok_or(GameLoopError::NotRunning)?.receive_for_loop(&self.number.to_string(), room, message);
        Ok(())
    }

    fn answer_for_loop(&self, node: &str, number: u64, answer: Result<Bytes, LoopFault>) {
        if let Some(node) = node.parse().ok().and_then(|number| self.node(number)) {
            node.receive_from_loop(number, answer);
        }
    }
}

impl Drop for MemoryNode {
    fn drop(&mut self) {
        self.shared.nodes.write().remove(&self.number);
        self.shared.rooms.write().retain(|_, nodes| {
            nodes.retain(|node| *node != self.number);
            !nodes.is_empty()
        });
        self.shared.owners.lock().retain(|_, owner| owner.node != self.number);
        self.shared.table.lock().forget(self.number);
        self.shared.addresses.write().remove(&self.number);
        self.shared.leases.release(self.number);
    }
}
