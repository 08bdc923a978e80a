//! The bounded queue of frames that wait for one connection's task: pushes, and the order to close.
//!
//! Anyone may put a frame in; only the connection's task takes them out, all at once.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Waker},
};

use bytes::Bytes;

use crate::{Close, Error};

/// How much may wait in one connection's outbox; past either the connection is closed with 4002.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) frames: usize,
    pub(crate) bytes: usize,
}

/// How a connection ends when the server wants it to.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    /// What was read is handled and answered first, then the close frame 4000.
    Drain,
    /// What is queued is sent first, then the close frame; nothing more is handled.
    Close(Close),
    /// The client does not read: what is queued is dropped, the close frame is all that is sent.
    Overflow,
    /// The drain's deadline: a running handler is cancelled and the socket dropped.
    Abandon,
}

impl Ending {
    /// Whether this one, ordered later, takes the place of `earlier`: a drain gives way to anything, and nothing
    /// stands against the deadline.
    fn overrides(&self, earlier: &Self) -> bool {
        matches!(self, Self::Abandon) || matches!(earlier, Self::Drain)
    }
}

/// The frames that wait for one connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Set for good with `State::ending`: asked between any two messages, without the lock.
    ends: AtomicBool,
    /// Whether pushes wait: asked for every message, without the lock.
    waits: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// Boxed: an order that most connections never get shall not cost them its size.
    ending: Option<Box<Ending>>,
    /// Nothing is taken any more.
    closed: bool,
    waker: Option<Waker>,
}

impl Outbox {
    /// Puts one encoded frame in. At the bound the queue is dropped and the connection ends with 4002.
    pub(crate) fn push(&self, frame: Bytes, bounds: Bounds) -> Result<(), SendError> {
        let mut state = self.state();
        if state.closed || !matches!(state.ending.as_deref(), None | Some(Ending::Drain)) {
            return Err(SendError::Closed);
        }
        if state.frames.len() == bounds.frames || state.bytes + frame.len() > bounds.bytes {
            state.frames = VecDeque::new();
            state.bytes = 0;
            self.order(state, Ending::Overflow);
            return Err(SendError::TooSlow);
        }
        state.bytes += frame.len();
        state.frames.push_back(frame);
        self.waits.store(true, Ordering::Release);
        wake(state);
        Ok(())
    }

    /// Orders the connection to end. The first order stands unless a later one overrides it.
    pub(crate) fn end(&self, ending: Ending) {
        let state = self.state();
        if !state.closed && state.ending.as_deref().is_none_or(|earlier| ending.overrides(earlier)) {
            self.order(state, ending);
        }
    }

    /// Whether the connection is to end.
    pub(crate) fn ends(&self) -> bool {
        self.ends.load(Ordering::Acquire)
    }

    /// Appends the pushes that wait to `out`, however the connection is to end.
    pub(crate) fn take_pushes(&self, out: &mut Vec<u8>) {
        if self.waits.load(Ordering::Acquire) {
            self.empty(&mut self.state(), out);
        }
    }

    /// Tells how the connection is to end, if it is, and appends what waits to `out` if `wanted` says so in view
    /// of that; the task is woken at the next change.
    pub(crate) fn take(
        &self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
        wanted: impl FnOnce(Option<&Ending>) -> bool,
    ) -> Option<Ending> {
        let mut state = self.state();
        if !state.frames.is_empty() && wanted(state.ending.as_deref()) {
            self.empty(&mut state, out);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        state.ending.as_deref().cloned()
    }

    /// Nothing is taken from now on, and what waits is dropped.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        *state = State { closed: true, ..State::default() };
    }

    fn empty(&self, state: &mut State, out: &mut Vec<u8>) {
        out.reserve(state.bytes);
        // Taken whole: an idle player pays for no queue.
        for frame in mem::take(&mut state.frames) {
            out.extend_from_slice(&frame);
        }
        state.bytes = 0;
        self.waits.store(false, Ordering::Release);
    }

    fn order(&self, mut state: MutexGuard<'_, State>, ending: Ending) {
        state.ending = Some(Box::new(ending));
        self.ends.store(true, Ordering::Release);
        wake(state);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing between lock and unlock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the connection's task: outside the lock, which it takes first of all.
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl From<SendError> for Error {
    /// The client whose request fails for it sees `internal`.
    fn from(error: SendError) -> Self {
        Self::internal(error)
    }
}

/// Why a push was not queued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The connection has ended or is ending.
    #[error("the connection is closed")]
    Closed,
    /// The outbox is full: the connection is closed with 4002.
    #[error("the client reads too slowly, its outbox is full; the connection is closed with 4002")]
    TooSlow,
    /// The push cannot be written as JSON.
    #[error("the push cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
}
