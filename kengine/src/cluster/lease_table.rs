//! The leases of game loops in the memory of one process. They do not expire: a node gives them up, or is dropped. What
//! a loop has saved is then kept for a time, as in Redis.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

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
    /// How long the row is kept without a holder.
    keep: Duration,
    /// Until then it is kept, if it has no holder.
    kept_until: Instant,
}

impl LeaseRow {
    fn free(&mut self) {
        self.holder = None;
        self.kept_until = Instant::now() + self.keep;
    }
}

impl LeaseTable {
    pub(super) fn answer(&self, node: u64, request: &LeaseRequest) -> LeaseAnswer {
        let mut leases = self.leases.lock();
        let now = Instant::now();
        if leases.get(&request.room).is_some_and(|row| row.holder.is_none() && row.kept_until <= now) {
            leases.remove(&request.room);
        }
        let row = leases.get_mut(&request.room);
        let is_own = |row: &LeaseRow| row.holder == Some(node) && row.fence == request.fence;
        match (request.wish, row) {
            (LeaseWish::Renew, Some(row)) if is_own(row) => {
                row.saved = request.saved.clone().or(row.saved.take());
                LeaseAnswer::Renewed { fence: row.fence }
            }
            (LeaseWish::HandOver, Some(row)) if is_own(row) => {
                row.free();
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
                (row.holder, row.fence, row.keep) = (Some(node), row.fence + 1, request.keep);
                LeaseAnswer::Taken { fence: row.fence, start: LoopStart::Moved(row.saved.clone()) }
            }
            (LeaseWish::Start, None) => {
                let LeaseRequest { room, kind, keep, .. } = request;
                let row = LeaseRow { kind, holder: Some(node), fence: 1, saved: None, keep: *keep, kept_until: now };
                leases.insert(Arc::clone(room), row);
                LeaseAnswer::Taken { fence: 1, start: LoopStart::Created }
            }
        }
    }

    /// Returns the node that has the lease of a room.
    pub(super) fn holder(&self, room: &str) -> Option<u64> {
        self.leases.lock().get(room)?.holder
    }

    /// Gives up all leases of a node, and forgets loops that no node has taken over in time.
    pub(super) fn release(&self, node: u64) {
        let mut leases = self.leases.lock();
        let now = Instant::now();
        leases.retain(|_, row| row.holder.is_some() || row.kept_until > now);
        leases.values_mut().filter(|row| row.holder == Some(node)).for_each(LeaseRow::free);
    }
}
