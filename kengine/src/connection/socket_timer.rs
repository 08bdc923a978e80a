//! The timer of a socket: it ends at each check for silence while the socket is open, and later at the end of the close
//! timeout.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

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
}

impl SocketTimer {
    /// Starts with a sign of life.
    pub(super) fn new(now: u64, idle_timeout: Duration) -> Self {
        Self { read_at: now, last_heard: now, sleep: Box::pin(sleep_until(Instant::now() + idle_timeout / CHECKS)) }
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
        self.sleep.as_mut().poll(cx)
    }

    /// Sets the timer for the close timeout.
    pub(super) fn start_close_timeout(&mut self, timeout: Duration) {
        self.sleep.as_mut().reset(Instant::now() + timeout);
    }

    /// Returns how long the client has been silent, and sets the timer for the next check. `is_heard` is false while a
    /// sign of life would not be noticed, because nothing is read from the client. Its silence does not count then.
    pub(super) fn check_silence(&mut self, now: u64, idle_timeout: Duration, is_heard: bool) -> Duration {
        if !is_heard {
            self.last_heard = now;
        }
        let (silence, interval) = (Duration::from_nanos(now.saturating_sub(self.last_heard)), idle_timeout / CHECKS);
        let next = if silence >= interval { interval } else { interval.saturating_sub(silence) };
        self.sleep.as_mut().reset(Instant::now() + next.min(idle_timeout.saturating_sub(silence)));
        silence
    }
}
