//! How long a client has been silent: when it was last heard, and when its silence must be checked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many times silence is checked within the idle timeout: the client is pinged at each check before the last.
pub(crate) const CHECKS: u32 = 3;

/// Stands for a connection that has not started, and whose silence is not checked.
const NOT_STARTED: u64 = u64::MAX;

/// Stands for a connection whose player is away: its session is suspended.
const RESTING: u64 = u64::MAX - 1;

/// The last sign of life of a client, and the next check. Only the connection's task writes them, and its
/// node reads them. Times are in nanoseconds of the node's clock.
#[derive(Debug)]
pub(crate) struct Silence {
    last_heard: AtomicU64,
    /// The earliest time of the next check.
    next_check: AtomicU64,
}

impl Default for Silence {
    fn default() -> Self {
        Self { last_heard: AtomicU64::new(NOT_STARTED), next_check: AtomicU64::new(0) }
    }
}

impl Silence {
    /// Starts with a sign of life.
    pub(crate) fn start(&self, now: u64) {
        self.last_heard.store(now, Ordering::Relaxed);
    }

    /// Stops to measure until the next [start](Self::start): the player is away, so silence is expected.
    pub(crate) fn rest(&self) {
        self.last_heard.store(RESTING, Ordering::Relaxed);
        self.next_check.store(NOT_STARTED, Ordering::Relaxed);
    }

    /// Goes on after a [rest](Self::rest), with a sign of life. Returns whether there was one.
    pub(crate) fn end_rest(&self, now: u64) -> bool {
        let is_resting = self.is_resting();
        if is_resting {
            self.next_check.store(0, Ordering::Relaxed);
            self.start(now);
        }
        is_resting
    }

    /// Whether silence is not measured because the player is away.
    pub(crate) fn is_resting(&self) -> bool {
        self.last_heard.load(Ordering::Relaxed) == RESTING
    }

    /// Records a sign of life. Signs may be recorded out of order.
    pub(crate) fn record_input(&self, at: u64) {
        // Only this task writes it.
        self.last_heard.store(self.last_heard.load(Ordering::Relaxed).max(at), Ordering::Relaxed);
    }

    /// Returns when the next check is due: never before the time that any earlier call has returned, unless a check was
    /// made meanwhile.
    pub(crate) fn due_at(&self, idle_timeout: Duration) -> u64 {
        let heard = self.last_heard.load(Ordering::Relaxed).saturating_add(nanoseconds(idle_timeout / CHECKS));
        heard.max(self.next_check.load(Ordering::Relaxed))
    }

    /// Returns how long the client has been silent, and sets the time of the next check. `is_heard` is false while a
    /// sign of life would not be noticed, because nothing is read from the client. Its silence does not count then.
    pub(crate) fn check(&self, now: u64, idle_timeout: Duration, is_heard: bool) -> Duration {
        if !is_heard {
            self.last_heard.store(now, Ordering::Relaxed);
        }
        let silence = Duration::from_nanos(now.saturating_sub(self.last_heard.load(Ordering::Relaxed)));
        let next = (idle_timeout / CHECKS).min(idle_timeout.saturating_sub(silence));
        self.next_check
            .store(if silence < idle_timeout / CHECKS { 0 } else { now + nanoseconds(next) }, Ordering::Relaxed);
        silence
    }
}

/// Returns a duration in nanoseconds. Fits for 584 years.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> u64 {
        nanoseconds(Duration::from_secs(seconds))
    }

    #[test]
    fn silence_is_checked_until_the_idle_timeout() {
        let silence = Silence::default();
        assert_eq!(silence.due_at(IDLE_TIMEOUT), u64::MAX);
        silence.start(at(100));
        assert_eq!(silence.due_at(IDLE_TIMEOUT), at(110));
        // After how many seconds silence is checked, and when it is checked again.
        for (checked, due) in [(0, 10), (4, 10), (10, 20), (20, 30), (25, 30), (30, 30)] {
            let found = silence.check(at(100 + checked), IDLE_TIMEOUT, true);
            assert_eq!(found, Duration::from_secs(checked));
            assert_eq!(silence.due_at(IDLE_TIMEOUT), at(100 + due), "after {checked} s");
        }
    }

    #[test]
    fn a_sign_of_life_ends_the_silence() {
        let silence = Silence::default();
        silence.start(at(100));
        silence.check(at(110), IDLE_TIMEOUT, true);
        silence.record_input(at(112));
        // The client began to read again before what was read is recorded.
        silence.record_input(at(111));
        assert_eq!(silence.due_at(IDLE_TIMEOUT), at(122));
        assert_eq!(silence.check(at(122), IDLE_TIMEOUT, true), Duration::from_secs(10));
        assert_eq!(silence.due_at(IDLE_TIMEOUT), at(132));
        // It is not read from the client.
        assert_eq!(silence.check(at(132), IDLE_TIMEOUT, false), Duration::ZERO);
        assert_eq!(silence.due_at(IDLE_TIMEOUT), at(142));
    }
}
