//! A cluster in memory, of several nodes in one process.

use std::{
    collections::HashMap,
    fmt,
    future::ready,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Address, Cluster, Enter, Gathered, Later, Parcel, Unavailable};
use crate::{ConnectionId, Duplicates, Result, Uid, node::Node};

/// A cluster whose directory and bus are memory: several servers of one process that reach each other's rooms and users.
/// What spans nodes can be tested with it, without Redis.
///
/// ```
/// use kengine::{Memory, Server};
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
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    numbers: AtomicU64,
    members: RwLock<HashMap<u64, Weak<Node>>>,
    /// Which nodes have somebody in a room.
    rooms: RwLock<HashMap<Box<str>, Vec<u64>>>,
    claims: Mutex<HashMap<Uid, Claim>>,
}

/// Whose a uid is.
#[derive(Clone, Copy)]
struct Claim {
    node: u64,
    connection: ConnectionId,
    order: u64,
}

impl Memory {
    /// A cluster without nodes.
    pub fn new() -> Self {
        Self::default()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("nodes", &self.shared.nodes().len()).finish()
    }
}

impl Enter for Memory {
    fn enter(&self, node: &Weak<Node>, _: u64, _: Option<SocketAddr>) -> Result<Arc<dyn Cluster>> {
        let number = self.shared.numbers.fetch_add(1, Ordering::Relaxed);
        self.shared.nodes_mut().insert(number, node.clone());
        Ok(Arc::new(Entered { shared: Arc::clone(&self.shared), number }))
    }
}

impl Shared {
    // Nothing between lock and unlock can panic half-way through a change.
    fn nodes(&self) -> RwLockReadGuard<'_, HashMap<u64, Weak<Node>>> {
        self.members.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn nodes_mut(&self) -> RwLockWriteGuard<'_, HashMap<u64, Weak<Node>>> {
        self.members.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn rooms(&self) -> RwLockReadGuard<'_, HashMap<Box<str>, Vec<u64>>> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn rooms_mut(&self) -> RwLockWriteGuard<'_, HashMap<Box<str>, Vec<u64>>> {
        self.rooms.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn claims(&self) -> MutexGuard<'_, HashMap<Uid, Claim>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One node's place in the cluster; it leaves when this is dropped.
struct Entered {
    shared: Arc<Shared>,
    number: u64,
}

impl Entered {
    /// The other nodes that have somebody at this address, as far as that is known.
    fn others(&self, to: Address<'_>) -> Vec<Arc<Node>> {
        let nodes = self.shared.nodes();
        let node = |number: &u64| nodes.get(number).and_then(Weak::upgrade);
        let is_other = |number: &&u64| **number != self.number;
        match to {
            Address::Room(room) => {
                let rooms = self.shared.rooms();
                rooms.get(room).into_iter().flatten().filter(is_other).filter_map(node).collect()
            }
            Address::User(_) | Address::Everybody => nodes.keys().filter(is_other).filter_map(node).collect(),
        }
    }
}

impl Cluster for Entered {
    fn reaches(&self, to: Address<'_>) -> bool {
        if self.shared.nodes().len() == 1 {
            return false;
        }
        match to {
            Address::Room(room) => self
                .shared
                .rooms()
                .get(room)
                .is_some_and(|nodes| nodes.iter().any(|node| *node != self.number)),
            Address::User(_) | Address::Everybody => true,
        }
    }

    fn publish(&self, to: Address<'_>, parcel: Parcel) -> Result<(), Unavailable> {
        for node in self.others(to) {
            node.receive(to, &parcel);
        }
        Ok(())
    }

    fn subscribe(&self, room: &str) {
        let mut rooms = self.shared.rooms_mut();
        match rooms.get_mut(room) {
            Some(nodes) => nodes.push(self.number),
            None => _ = rooms.insert(room.into(), vec![self.number]),
        }
    }

    fn unsubscribe(&self, room: &str) {
        let mut rooms = self.shared.rooms_mut();
        if let Some(nodes) = rooms.get_mut(room) {
            nodes.retain(|node| *node != self.number);
            if nodes.is_empty() {
                rooms.remove(room);
            }
        }
    }

    fn subscribed<'a>(&'a self, _: &'a str) -> Later<'a, Result<(), Unavailable>> {
        Box::pin(ready(Ok(())))
    }

    fn claim(&self, uid: &Uid, connection: ConnectionId, order: u64, duplicates: Duplicates) {
        let claim = Claim { node: self.number, connection, order };
        let mut claims = self.shared.claims();
        let earlier = claims.get(uid).copied();
        if earlier.is_some_and(|earlier| earlier.node == self.number && earlier.order > order) {
            return;
        }
        let earlier = earlier.filter(|earlier| earlier.node != self.number);
        let is_refused = earlier.is_some() && duplicates == Duplicates::Refuse;
        if !is_refused {
            claims.insert(uid.clone(), claim);
        }
        let loser = if is_refused { Some(claim) } else { earlier };
        drop(claims);
        let Some(loser) = loser else { return };
        let node = self.shared.nodes().get(&loser.node).and_then(Weak::upgrade);
        if let Some(node) = node {
            node.lose(uid, loser.connection, duplicates);
        }
    }

    fn release(&self, uid: &Uid, connection: ConnectionId) {
        let mut claims = self.shared.claims();
        let is_own = |claim: &Claim| claim.node == self.number && claim.connection == connection;
        if claims.get(uid).is_some_and(is_own) {
            claims.remove(uid);
        }
    }

    fn members<'a>(&'a self, room: &'a str) -> Later<'a, Gathered> {
        let nodes = self.others(Address::Room(room));
        let members = nodes.iter().flat_map(|node| node.registry.members(room)).collect();
        Box::pin(ready(Gathered { members, is_partial: false }))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.shared.nodes_mut().remove(&self.number);
        self.shared.rooms_mut().retain(|_, nodes| {
            nodes.retain(|node| *node != self.number);
            !nodes.is_empty()
        });
        self.shared.claims().retain(|_, claim| claim.node != self.number);
    }
}

impl fmt::Debug for Entered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entered").field("node", &self.number).finish_non_exhaustive()
    }
}
