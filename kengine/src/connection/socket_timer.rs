//! The timer of a socket: it ends at each check for silence while the socket is open, and later at the end of the close
//! timeout.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep, sleep_until};

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
    /// Whether `sleep` wakes the connection's task when it ends. Otherwise it must be polled.
    is_registered: bool,
}

impl SocketTimer {
    /// Starts with a sign of life.
    pub(super) fn new(now: u64, idle_timeout: Duration) -> Self {
        let sleep = Box::pin(sleep_until(Instant::now() + idle_timeout / CHECKS));
        Self { read_at: now, last_heard: now, sleep, is_registered: false }
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
    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // This is called twice for each message, and `is_elapsed` is cheaper than a poll.
        if self.is_registered && !self.sleep.is_elapsed() {
            return Poll::Pending;
        }
        // Without budget, tokio registers nothing, and wakes the task at once.
        let has_budget = has_budget_remaining();
        let polled = self.sleep.as_mut().poll(cx);
        self.is_registered = has_budget && polled.is_pending();
        polled
    }

    /// Forgets which task is woken.
    pub(super) fn forget_waker(&mut self) {
        self.is_registered = false;
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
        self.is_registered = false;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use tokio::time::advance;

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

    /// Counts how often a task is woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_timer_wakes_the_task_that_polled_it_first_since_it_was_set() {
        let woken = [(); 2].map(|()| Arc::<Woken>::default());
        let [first, second] = woken.each_ref().map(|woken| Waker::from(Arc::clone(woken)));
        let poll = |timer: &mut SocketTimer, waker| timer.poll(&mut Context::from_waker(waker));
        let counts = || woken.each_ref().map(|woken| woken.0.load(Ordering::SeqCst));
        let mut timer = SocketTimer::new(0, IDLE_TIMEOUT);
        assert!(poll(&mut timer, &first).is_pending() && poll(&mut timer, &second).is_pending());
        advance(IDLE_TIMEOUT / CHECKS).await;
        assert_eq!(counts(), [1, 0]);
        assert!(poll(&mut timer, &second).is_ready(), "also if other events come at the same time");

        timer.start_close_timeout(Duration::from_secs(5));
        assert!(poll(&mut timer, &second).is_pending());
        timer.start_close_timeout(Duration::from_secs(7));
        assert!(poll(&mut timer, &first).is_pending());
        timer.forget_waker();
        assert!(poll(&mut timer, &second).is_pending());
        advance(Duration::from_secs(7)).await;
        assert_eq!(counts(), [1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_is_polled_without_budget_is_polled_again() {
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(Arc::clone(&woken));
        let mut timer = SocketTimer::new(0, IDLE_TIMEOUT);
        // A task of its own, whose budget is used up.
        let (mut timer, polled) = tokio::spawn(async move {
            while has_budget_remaining() {
                tokio::task::coop::consume_budget().await;
            }
            let polled = timer.poll(&mut Context::from_waker(&waker));
            (timer, polled)
        })
        .await
        .unwrap();
        assert!(polled.is_pending() && !timer.is_registered);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1, "the task is woken at once");
        assert!(timer.poll(&mut Context::from_waker(Waker::noop())).is_pending() && timer.is_registered);
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
