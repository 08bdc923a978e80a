//! A node without a cluster.

use std::fmt;
use std::future::ready;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

use crate::cluster::lease_table::LeaseTable;
use crate::node_state::{
    BoxFuture, Cluster, ClusterNode, JoinCluster, LeaseAnswer, LeaseRequest, NodeInfo, RoomPage, RoomQuery, RoomTable,
    Seat, SeatRefusal, SeatRequest, Unavailable, Vacating,
};
use crate::protocol::{StartError, Uid};

/// The number of the only node in its table of rooms.
const NODE: u64 = 0;

/// A cluster without other nodes, for a server that joins no cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alone;

impl JoinCluster for Alone {
    fn join(&self, info: NodeInfo) -> Result<Arc<dyn Cluster>, StartError> {
        Ok(Arc::new(AloneNode {
            listens: info.listens,
            node: OnceLock::new(),
            rooms: Mutex::default(),
            leases: LeaseTable::default(),
        }))
    }
}

/// The handle of the only node.
struct AloneNode {
    listens: Option<SocketAddr>,
    node: OnceLock<Weak<dyn ClusterNode>>,
    /// Locked while a room is locked, so no room may be locked under it.
    rooms: Mutex<RoomTable>,
    leases: LeaseTable,
}

impl fmt::Debug for AloneNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AloneNode").finish_non_exhaustive()
    }
}

impl Cluster for AloneNode {
    fn attach(&self, node: Weak<dyn ClusterNode>) {
        // Cannot fail, because `attach` is called only once.
        let _ = self.node.set(node);
    }

    fn unsubscribe(&self, room: &str) {
        self.rooms.lock().end(room);
    }

    fn take_seat(&self, request: SeatRequest) -> BoxFuture<'_, Result<Seat, SeatRefusal>> {
        let mut rooms = self.rooms.lock();
        rooms.expire();
        let taken = rooms.take(NODE, &request).map(|(seat, _)| seat);
        Box::pin(ready(taken.ok_or(SeatRefusal::Full)))
    }

    fn vacate(&self, seat: &Seat, when: Vacating) {
        let mut rooms = self.rooms.lock();
        rooms.expire();
        rooms.give_up(NODE, seat, when);
    }

    fn free_kept(&self, uid: &Uid) {
        self.rooms.lock().free_kept(NODE, uid);
    }

    fn set_public(&self, room: &str, public: &Arc<str>) {
        self.rooms.lock().set_public(room, Arc::clone(public));
    }

    fn list<'a>(&'a self, query: RoomQuery<'a>) -> BoxFuture<'a, Result<RoomPage, Unavailable>> {
        let mut page = {
            let mut rooms = self.rooms.lock();
            rooms.expire();
            rooms.list(&query)
        };
        if let Some(node) = self.node.get().and_then(Weak::upgrade) {
            for room in &mut page.rooms {
                room.members = node.listing(&room.name).0;
                room.nodes.extend(self.listens.map(|address| address.to_string()));
            }
        }
        page.rooms.retain(|room| room.members + room.taken > 0);
        Box::pin(ready(Ok(page)))
    }

    fn lease_loops<'a>(&'a self, requests: &'a [LeaseRequest]) -> BoxFuture<'a, Result<Vec<LeaseAnswer>, Unavailable>> {
        let answers = requests.iter().map(|request| self.leases.answer(NODE, request)).collect();
        Box::pin(ready(Ok(answers)))
    }
}
