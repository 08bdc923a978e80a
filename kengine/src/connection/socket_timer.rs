//! The timer of a socket: it ends at each check for silence while the socket is open, and later at the end of the close
//! timeout.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::node_state::Clock;

/// How many times silence is checked within the idle timeout: the client is pinged at each check before the last.
pub(super) const CHECKS: u32 = 3;

/// The last sign of life of a client, and the socket's only timer. Times are in nanoseconds of the node's clock.
pub(super) struct SocketTimer {
    /// When the client's bytes were last read. The clock is read for it: once per read, not per message.
    read_at: u64,
    /// When the last sign of life came.
    last_heard: u64,
    /// Ends at the next check for silence; after our close frame, at the end of the close timeout.
    sleep: Pin<Box<Sleep>>,
    /// When `sleep` ends and wakes the connection's task; 0 if it must be polled for that.
    wakes_at: u64,
}

impl SocketTimer {
    /// Starts with a sign of life.
    pub(super) fn new(now: u64, idle_timeout: Duration) -> Self {
        let sleep = Box::pin(sleep_until(Instant::now() + idle_timeout / CHECKS));
        Self { read_at: now, last_heard: now, sleep, wakes_at: 0 }
    }

    /// Records that bytes came.
    #[inline]
    pub(super) fn record_bytes(&mut self, now: u64) {
        self.read_at = now;
    }

    /// Returns when bytes last came.
    #[inline]
    pub(super) fn read_at(&self) -> u64 {
        self.read_at
    }

    /// Records that a whole message, ping or pong came with the last bytes.
    #[inline]
    pub(super) fn record_input(&mut self) {
        self.last_heard = self.last_heard.max(self.read_at);
    }

    /// Records that the client reads again after it did not.
    pub(super) fn record_client_reads(&mut self, now: u64) {
        self.last_heard = now;
    }

    /// Waits for the timer.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, clock: Clock) -> Poll<()> {
        let polled = self.sleep.as_mut().poll(cx);
        if polled.is_pending() && self.wakes_at == 0 {
            self.wakes_at = clock.at(self.sleep.deadline());
        }
        polled
    }

    /// Whether the timer had not ended when bytes last came. Then it will wake the task, and needs no poll.
    #[inline]
    pub(super) fn will_wake(&self) -> bool {
        self.read_at < self.wakes_at
    }

    /// Forgets which task is woken.
    pub(super) fn forget_waker(&mut self) {
        self.wakes_at = 0;
    }

    /// Sets the timer for the close timeout.
    pub(super) fn start_close_timeout(&mut self, timeout: Duration) {
        self.reset(Instant::now() + timeout);
    }

    /// Returns how long the client has been silent, and sets the timer for the next check. `is_heard` is false while a
    /// sign of life would not be noticed, because nothing is read from the client. Its silence does not count then.
    pub(super) fn check_silence(&mut self, now: u64, idle_timeout: Duration, is_heard: bool) -> Duration {
        if !is_heard {
            self.last_heard = now;
        }
        let (silence, interval) = (Duration::from_nanos(now.saturating_sub(self.last_heard)), idle_timeout / CHECKS);
        let next = if silence >= interval { interval } else { interval.saturating_sub(silence) };
        self.reset(Instant::now() + next.min(idle_timeout.saturating_sub(silence)));
        silence
    }

    fn reset(&mut self, end: Instant) {
        self.sleep.as_mut().reset(end);
        self.wakes_at = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;

    use super::*;

    const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

    fn nanoseconds(seconds: u64) -> u64 {
        seconds * 1_000_000_000
    }

    /// Checks in how many seconds the timer ends after `set` has set it.
    fn check_end(timer: &mut SocketTimer, seconds: u64, set: impl FnOnce(&mut SocketTimer)) {
        let end = |now: Instant| now + Duration::from_secs(seconds);
        let earliest = end(Instant::now());
        set(timer);
        assert!((earliest..=end(Instant::now())).contains(&timer.sleep.deadline()), "not in {seconds} s");
    }

    #[tokio::test]
    async fn the_timer_needs_no_poll_while_it_will_wake_the_task() {
        let clock = Clock::start();
        let mut cx = Context::from_waker(Waker::noop());
        let mut timer = SocketTimer::new(0, IDLE_TIMEOUT);
        assert!(!timer.will_wake(), "it was never polled");
        assert!(timer.poll(&mut cx, clock).is_pending());
        assert!(timer.will_wake());

        let end = clock.at(timer.sleep.deadline());
        for (read_at, will_wake) in [(end - 1, true), (end, false), (end + 1, false)] {
            timer.record_bytes(read_at);
            assert_eq!((timer.read_at(), timer.will_wake()), (read_at, will_wake));
        }
        timer.record_bytes(0);
        timer.forget_waker();
        assert!(!timer.will_wake(), "it would wake the earlier task");
        assert!(timer.poll(&mut cx, clock).is_pending());
        assert!(timer.will_wake());

        check_end(&mut timer, 5, |timer| timer.start_close_timeout(Duration::from_secs(5)));
        assert!(!timer.will_wake(), "it was set anew");
        timer.start_close_timeout(Duration::ZERO);
        poll_fn(|cx| timer.poll(cx, clock)).await;
    }

    #[tokio::test]
    async fn silence_is_checked_until_the_idle_timeout() {
        let mut timer = SocketTimer::new(0, IDLE_TIMEOUT);
        // Each silence in seconds, and in how many seconds it is checked again.
        for (silence, next) in [(0, 10), (4, 6), (10, 10), (20, 10), (25, 5), (30, 0)] {
            check_end(&mut timer, next, |timer| {
                let found = timer.check_silence(nanoseconds(silence), IDLE_TIMEOUT, true);
                assert_eq!(found, Duration::from_secs(silence));
            });
        }
        timer.record_bytes(nanoseconds(12));
        timer.record_input();
        assert_eq!(timer.check_silence(nanoseconds(15), IDLE_TIMEOUT, true), Duration::from_secs(3));
        timer.record_client_reads(nanoseconds(14));
        timer.record_input();
        assert_eq!(timer.check_silence(nanoseconds(15), IDLE_TIMEOUT, true), Duration::from_secs(1));
        check_end(&mut timer, 10, |timer| {
            assert_eq!(timer.check_silence(nanoseconds(60), IDLE_TIMEOUT, false), Duration::ZERO);
        });
        assert_eq!(timer.check_silence(nanoseconds(61), IDLE_TIMEOUT, true), Duration::from_secs(1));
    }
}
