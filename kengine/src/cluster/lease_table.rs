//! The leases of game loops in the memory of one process. They do not expire: a node gives them up, or is dropped.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::node_state::{LeaseAnswer, LeaseRequest, LeaseWish, LoopStart};

/// The leases of game loops, by room.
#[derive(Default)]
pub(super) struct LeaseTable {
    leases: Mutex<HashMap<Arc<str>, LeaseRow>>,
}

struct LeaseRow {
    kind: &'static str,
    /// The number of the node that has the lease.
    holder: Option<u64>,
    fence: u64,
    saved: Option<Bytes>,
}

impl LeaseTable {
    pub(super) fn answer(&self, node: u64, request: &LeaseRequest) -> LeaseAnswer {
        let mut leases = self.leases.lock();
        let row = leases.get_mut(&request.room);
        let is_own = |row: &LeaseRow| row.holder == Some(node) && row.fence == request.fence;
        match (request.wish, row) {
            (LeaseWish::Renew, Some(row)) if is_own(row) => {
                row.saved = request.saved.clone().or(row.saved.take());
                LeaseAnswer::Renewed { fence: row.fence }
            }
            (LeaseWish::HandOver, Some(row)) if is_own(row) => {
                row.holder = None;
                row.saved = request.saved.clone().or(row.saved.take());
                LeaseAnswer::Nowhere
            }
            (LeaseWish::End, Some(row)) if is_own(row) => {
                leases.remove(&request.room);
                LeaseAnswer::Nowhere
            }
            (LeaseWish::HandOver | LeaseWish::End, _) | (LeaseWish::Renew | LeaseWish::TakeOver, None) => {
                LeaseAnswer::Nowhere
            }
            (_, Some(row)) if row.kind != request.kind => LeaseAnswer::OtherKind(row.kind.to_owned()),
            (_, Some(row)) if row.holder.is_some_and(|holder| holder != node) => {
                LeaseAnswer::Elsewhere { remaining: Duration::MAX }
            }
            (_, Some(row)) => {
                (row.holder, row.fence) = (Some(node), row.fence + 1);
                LeaseAnswer::Taken { fence: row.fence, start: LoopStart::Moved(row.saved.clone()) }
            }
            (LeaseWish::Start, None) => {
                let row = LeaseRow { kind: request.kind, holder: Some(node), fence: 1, saved: None };
                leases.insert(Arc::clone(&request.room), row);
                LeaseAnswer::Taken { fence: 1, start: LoopStart::Created }
            }
        }
    }

    /// Returns the node that has the lease of a room.
    pub(super) fn holder(&self, room: &str) -> Option<u64> {
        self.leases.lock().get(room)?.holder
    }

    /// Gives up all leases of a node.
    pub(super) fn release(&self, node: u64) {
        for row in self.leases.lock().values_mut() {
            row.holder = row.holder.filter(|holder| *holder != node);
        }
    }
}
