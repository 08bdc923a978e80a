//! The clock of a node, for rates and silence.

use tokio::time::Instant;

/// Counts the nanoseconds since its start. So a point in time takes 8 bytes, and comparing two takes one instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Returns the nanoseconds since the start.
    pub(crate) fn now(self) -> u64 {
        self.at(Instant::now())
    }

    /// Returns a point in time, in nanoseconds since the start.
    pub(crate) fn at(self, instant: Instant) -> u64 {
        // Fits for 584 years.
        u64::try_from(instant.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }
}
