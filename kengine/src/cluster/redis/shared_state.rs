//! The state of a node that the tasks of its directory and its bus share.

use std::mem;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use redis::Client;
use tokio::sync::{Notify, watch};

use crate::cluster::redis::claims::Claims;
use crate::cluster::redis::config::Redis;
use crate::cluster::redis::keys::Keys;
use crate::cluster::redis::redeemed::Redeemed;
use crate::cluster::redis::seat_queue::SeatQueue;
use crate::node_state::{ClusterNode, ConnectionId, Duplicates, Load, NodeInfo, Status};
use crate::protocol::{StartError, Uid};

/// The longest round trip after which the time of the directory's clock counts as accurate.
const MAX_CLOCK_ROUND_TRIP: Duration = Duration::from_millis(100);

/// What a node wants from the directory. The phase only advances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    Draining,
    Leaving,
}

/// The state of a node that the tasks of its directory and its bus share.
pub(super) struct SharedState {
    pub(super) client: Client,
    pub(super) keys: Keys,
    /// The boot id, which distinguishes this process from others at its address.
    pub(super) boot: String,
    /// When this process joined the directory first, in milliseconds of the directory's clock; 0 before. Of two
    /// processes at one address, the later one keeps it.
    pub(super) joined: AtomicI64,
    pub(super) lease: Duration,
    pub(super) info: NodeInfo,
    pub(super) node: OnceLock<Weak<dyn ClusterNode>>,
    /// What the node wants from the directory. The directory's task carries it out.
    pub(super) phase: watch::Sender<Phase>,
    /// What the directory's task has achieved.
    pub(super) status: watch::Sender<Status>,
    /// Notified when the load, a claim or a reservation must be reported to the directory.
    pub(super) load_changed: Notify,
    pub(super) seats: SeatQueue,
    claims: Mutex<Claims>,
    redeemed: Mutex<Redeemed>,
    created: Instant,
    /// The latest time that the directory's clock may have shown at `created`, in milliseconds.
    clock_at_creation: AtomicI64,
}

impl SharedState {
    /// # Errors
    ///
    /// The URL of Redis is invalid.
    pub(super) fn new(config: &Redis, info: NodeInfo, address: &str) -> Result<Self, StartError> {
        Ok(Self {
            client: config.client()?,
            keys: Keys::new(&config.prefix, address),
            boot: format!("{:016x}", info.boot),
            joined: AtomicI64::new(0),
            lease: config.lease,
            info,
            node: OnceLock::new(),
            phase: watch::Sender::new(Phase::Serving),
            status: watch::Sender::new(Status::Joining),
            load_changed: Notify::new(),
            seats: SeatQueue::default(),
            claims: Mutex::default(),
            redeemed: Mutex::default(),
            created: Instant::now(),
            clock_at_creation: AtomicI64::new(0),
        })
    }

    /// How long a lease of a game loop lasts: shorter than that of the node, so that a loop whose node is killed goes
    /// on elsewhere before the node's lease would have ended.
    pub(super) fn loop_lease(&self) -> Duration {
        self.lease * 9 / 10
    }

    pub(super) fn node(&self) -> Option<Arc<dyn ClusterNode>> {
        self.node.get().and_then(Weak::upgrade)
    }

    pub(super) fn load(&self) -> Load {
        self.node().map_or_else(Load::default, |node| node.load())
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Advances to a phase, and wakes the directory's task. Does nothing if the node is already in this phase or a
    /// later one.
    pub(super) fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| mem::replace(phase, to.max(*phase)) < to);
    }

    pub(super) fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// Sets the status, and logs when the node has become registered.
    pub(super) fn set_status(&self, status: Status) {
        let before = self.status.send_replace(status);
        if status.is_registered() && !before.is_registered() {
            tracing::info!(address = self.keys.address, "this node is in the directory");
        }
    }

    pub(super) fn claims(&self) -> MutexGuard<'_, Claims> {
        // No code that holds the lock can panic in the middle of a change.
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the directory's task report all claims again. The directory may have lost them; or it has given a uid to a
    /// later connection of another node, and the message about this came while this node was not on the bus.
    pub(super) fn claim_again(&self) {
        self.claims().send_again();
        self.load_changed.notify_one();
    }

    /// Lets the directory's task report all listed rooms and seats again.
    pub(super) fn restore_rooms(&self) {
        self.seats.restore(self.node().map_or_else(Vec::new, |node| node.listed_rooms()));
    }

    pub(super) fn redeemed(&self) -> MutexGuard<'_, Redeemed> {
        // Cannot be left in the middle of a change either.
        self.redeemed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the directory's clock from an answer: `now` is its time in milliseconds, and `round_trip` is how long the
    /// answer took. A slow answer is inaccurate, so it is ignored while the node is registered. This clock orders the
    /// claims of different nodes.
    pub(super) fn set_clock(&self, now: i64, round_trip: Duration) {
        if round_trip < MAX_CLOCK_ROUND_TRIP || !self.status().is_registered() {
            // The clock was read at any moment of the round trip. It showed the latest time if that was the first one.
            let elapsed = self.created.elapsed().saturating_sub(round_trip);
            self.clock_at_creation.store(now.saturating_sub(millis(elapsed)), Ordering::Relaxed);
        }
    }

    /// Returns the latest time that the directory's clock may have shown at this moment, in milliseconds.
    pub(super) fn latest(&self, at: Instant) -> i64 {
        // Both clocks are read in whole milliseconds.
        let since_creation = millis(at.saturating_duration_since(self.created)) + 2;
        self.clock_at_creation.load(Ordering::Relaxed).saturating_add(since_creation)
    }

    /// Closes a connection that did not get its uid, or has lost it to another node.
    pub(super) fn lose(&self, uid: &Uid, connection: ConnectionId, duplicates: Duplicates) {
        self.claims().lose(uid, connection);
        if let Some(node) = self.node() {
            node.lose_uid(uid, connection, duplicates);
        }
    }
}

/// Returns a duration in whole milliseconds.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> SharedState {
        let (duplicates, version) = (Duplicates::default(), String::new());
        let info = NodeInfo { boot: 1, listens: None, max_connections: 1, duplicates, version };
        SharedState::new(&Redis::new("redis://localhost/"), info, "localhost:1").unwrap()
    }

    #[test]
    fn the_phase_only_advances() {
        let state = state();
        let mut phase = state.phase.subscribe();
        for (to, expected, is_new) in [
            (Phase::Serving, Phase::Serving, false),
            (Phase::Draining, Phase::Draining, true),
            (Phase::Draining, Phase::Draining, false),
            (Phase::Serving, Phase::Draining, false),
            (Phase::Leaving, Phase::Leaving, true),
            (Phase::Draining, Phase::Leaving, false),
        ] {
            state.advance(to);
            assert_eq!((state.phase(), phase.has_changed().unwrap()), (expected, is_new), "{to:?}");
            phase.mark_unchanged();
        }
    }

    #[test]
    fn the_clock_of_the_directory_is_read_as_late_as_it_may_be() {
        let state = state();
        let created = state.created;
        let after = |millis| state.latest(created + Duration::from_millis(millis));
        // The clock was read before this node was created, as far as it can tell.
        state.set_clock(1_000_000, Duration::from_secs(3600));
        assert_eq!((after(0), after(500)), (1_000_002, 1_000_502));
        state.set_status(Status::Listed);
        state.set_clock(2_000_000, MAX_CLOCK_ROUND_TRIP);
        assert_eq!(after(0), 1_000_002, "the answer was slow, and there was a better one");
        state.set_clock(3_000_000, MAX_CLOCK_ROUND_TRIP.saturating_sub(Duration::from_millis(1)));
        assert_ne!(after(0), 1_000_002);
    }
}
