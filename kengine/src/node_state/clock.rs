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
        // Fits for 584 years.
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
