//! The rooms whose game loops a node runs, or is ready to take over.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::node::game_loops::entry::LoopEntry;
use crate::node::game_loops::questions::LoopQuestions;
use crate::node_state::{GameLoopError, RoomWatcher, Sharded};

/// How long a node that leaves waits until it has given up its leases.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The game loops of a node.
#[derive(Default)]
pub(crate) struct GameLoops {
    entries: Sharded<HashMap<Arc<str>, Arc<LoopEntry>>>,
    /// The number of entries.
    count: AtomicUsize,
    /// The entries whose leases must be looked at before the next period.
    pub(super) flagged: Mutex<Vec<Arc<LoopEntry>>>,
    /// Notified when an entry is flagged.
    pub(super) wake: Notify,
    /// Notified when members have changed in a room whose loop runs elsewhere.
    pub(super) rosters: Notify,
    pub(super) questions: LoopQuestions,
    pub(super) is_kept: AtomicBool,
    /// Set when the node drains: it starts no loop, and hands over those that others can take.
    pub(super) is_draining: AtomicBool,
    /// Set when the node leaves: it hands over every loop.
    pub(super) is_closing: AtomicBool,
    /// Set when the keeper has ended.
    pub(super) closed: watch::Sender<bool>,
}

impl GameLoops {
    pub(super) fn find(&self, room: &str) -> Option<Arc<LoopEntry>> {
        self.entries.of(room).read().get(room).cloned()
    }

    /// Lets the keeper look at the lease of an entry soon.
    pub(super) fn flag(&self, entry: &Arc<LoopEntry>) {
        if !entry.is_flagged.swap(true, Ordering::AcqRel) {
            self.flagged.lock().push(Arc::clone(entry));
        }
        self.wake.notify_one();
    }

    pub(super) fn all(&self) -> Vec<Arc<LoopEntry>> {
        self.entries.iter().flat_map(|shard| shard.read().values().cloned().collect::<Vec<_>>()).collect()
    }

    /// Finds the entry of a room, or creates it.
    pub(super) fn find_or_create(&self, room: &str, max: usize) -> Result<Arc<LoopEntry>, GameLoopError> {
        if let Some(entry) = self.find(room) {
            return Ok(entry);
        }
        let mut shard = self.entries.of(room).write();
        if let Some(entry) = shard.get(room) {
            return Ok(Arc::clone(entry));
        }
        let more = |count| (count < max).then_some(count + 1);
        self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map_err(|_| GameLoopError::TooMany(max))?;
        let entry = Arc::new(LoopEntry::new(room));
        shard.insert(Arc::clone(&entry.name), Arc::clone(&entry));
        Ok(entry)
    }

    pub(super) fn remove(&self, entry: &LoopEntry) {
        if self.entries.of(&*entry.name).write().remove(&entry.name).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Starts no more loops, and hands over those that other nodes can take.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::Release);
        for entry in self.all() {
            entry.wake();
        }
    }

    /// Hands over every loop. Waits for a bounded time.
    pub(crate) async fn close(&self) {
        self.is_closing.store(true, Ordering::Release);
        if self.is_kept.load(Ordering::Acquire) {
            self.drain();
            self.wake.notify_one();
            // Cannot fail: this owns the sender.
            let closed = timeout(CLOSE_TIMEOUT, self.closed.subscribe().wait_for(|closed| *closed)).await.is_ok();
            if !closed {
                tracing::warn!("game loops could not be handed over: others take them when their leases have ended");
            }
        }
    }
}

impl RoomWatcher for GameLoops {
    fn members_changed(&self, room: &str) {
        let Some(entry) = self.find(room) else { return };
        entry.members_changed.store(true, Ordering::Release);
        if !entry.wake() {
            self.rosters.notify_one();
        }
    }
}
