//! The timer of a socket: it ends at each check for silence while the socket is open, and later at the end of the close
//! timeout.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// How many times silence is checked within the idle timeout: the client is pinged at each check before the last.
pub(super) const CHECKS: u32 = 3;

/// The last sign of life of a client, and the socket's only timer.
pub(super) struct SocketTimer {
    /// `None` if there was a sign of life since the clock was last read.
    last_heard: Option<Instant>,
    /// Ends at the next check for silence; after our close frame, at the end of the close timeout.
    sleep: Pin<Box<Sleep>>,
}

impl SocketTimer {
    /// Starts with a sign of life.
    pub(super) fn new(idle_timeout: Duration) -> Self {
        let now = Instant::now();
        Self { last_heard: Some(now), sleep: Box::pin(sleep_until(now + idle_timeout / CHECKS)) }
    }

    /// Records that a whole message, ping or pong came. [`poll`](Self::poll) reads the clock for it: once per wake, not
    /// per message.
    #[inline]
    pub(super) fn record_input(&mut self) {
        self.last_heard = None;
    }

    /// Records that the client reads again after it did not.
    pub(super) fn record_read(&mut self) {
        self.last_heard = Some(Instant::now());
    }

    /// Waits for the timer.
    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.last_heard.get_or_insert_with(Instant::now);
        self.sleep.as_mut().poll(cx)
    }

    /// Sets the timer for the close timeout.
    pub(super) fn start_close_timeout(&mut self, timeout: Duration) {
        self.sleep.as_mut().reset(Instant::now() + timeout);
    }

    /// Returns how long the client has been silent, and sets the timer for the next check. `is_heard` is false while a
    /// sign of life would not be noticed, because nothing is read from the client. Its silence does not count then.
    pub(super) fn check_silence(&mut self, idle_timeout: Duration, is_heard: bool) -> Duration {
        let now = Instant::now();
        let last_heard = self.last_heard.filter(|_| is_heard).unwrap_or(now);
        self.last_heard = Some(last_heard);
        let (silence, interval) = (now - last_heard, idle_timeout / CHECKS);
        let next = if silence >= interval { now + interval } else { last_heard + interval };
        self.sleep.as_mut().reset(next.min(last_heard + idle_timeout));
        silence
    }
}
