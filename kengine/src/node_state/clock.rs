//! The clock of a node.

use std::time::SystemTime;

use tokio::time::Instant;

/// Counts the nanoseconds since its start, for rates and silence. So a point in time takes 8 bytes, and comparing two
/// takes one instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Returns the nanoseconds since the start.
    #[inline]
    pub(crate) fn now(self) -> u64 {
        // Fits for 584 years.
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Returns the time of the system's clock. A test may have paused tokio's clock: then this time stands still as
    /// well, and goes on as tokio's clock does.
    pub(crate) fn system_time() -> SystemTime {
        let (system, real, tokio) = (SystemTime::now(), std::time::Instant::now(), Instant::now().into_std());
        let time = match tokio.checked_duration_since(real) {
            Some(ahead) => system.checked_add(ahead),
            None => system.checked_sub(real.duration_since(tokio)),
        };
        time.unwrap_or(system)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_system_time_passes_as_the_paused_clock_does() {
        // If a busy machine reads the clocks a moment apart, the time is too early by this moment.
        let read = || (0..100).map(|_| Clock::system_time()).max().unwrap();
        let before = read();
        assert_eq!(read().duration_since(before).unwrap_or_default().as_secs(), 0, "it does not stand still");
        tokio::time::advance(3600 * SECOND).await;
        let passed = read().duration_since(before).unwrap();
        assert!(passed.abs_diff(3600 * SECOND) < SECOND, "{passed:?}");
    }

    #[test]
    fn the_system_time_is_the_systems() {
        let (before, time, after) = (SystemTime::now(), Clock::system_time(), SystemTime::now());
        assert!(before <= time + SECOND && time <= after + SECOND, "{before:?} {time:?} {after:?}");
    }
}
