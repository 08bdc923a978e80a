//! What the connection's task learns about the message that is being handled.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

/// Stands for a message without a route.
const NO_ROUTE: usize = usize::MAX;

/// What the connection's task learns about the message that is being handled: its route, and how long its handler may
/// run.
///
/// Atomic only because handlers' futures must be `Send`; no two threads use it at the same time.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The route's index in the endpoint's table.
    route: AtomicUsize,
    /// How long the handler may run, in milliseconds; 0 stands for the server's limit.
    timeout: AtomicU32,
    /// When the client's bytes were last read, on the node's clock.
    read_at: u64,
}

impl Progress {
    #[inline]
    pub(crate) fn new(read_at: u64) -> Self {
        Self { route: AtomicUsize::new(NO_ROUTE), timeout: AtomicU32::new(0), read_at }
    }

    pub(crate) fn read_at(&self) -> u64 {
        self.read_at
    }

    #[inline]
    pub(crate) fn set_route(&self, route: usize) {
        self.route.store(route, Ordering::Relaxed);
    }

    /// Returns the index of the route in the endpoint's table; `None` if no route takes the message.
    #[inline]
    pub(crate) fn route(&self) -> Option<usize> {
        Some(self.route.load(Ordering::Relaxed)).filter(|route| *route != NO_ROUTE)
    }

    /// Limits how long the handler may run, to at least 1 ms.
    pub(crate) fn set_timeout(&self, limit: Duration) {
        let limit = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        self.timeout.store(limit.max(1), Ordering::Relaxed);
    }

    /// Returns the route's own limit for its handler.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        let limit = self.timeout.load(Ordering::Relaxed);
        (limit > 0).then(|| Duration::from_millis(limit.into()))
    }
}
