//! The bounded queue of frames that wait for one connection's task: pushes, and the order to close.
//!
//! Anyone may put a frame in; only the connection's task takes them out.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Waker},
};

use bytes::Bytes;

use crate::{Close, Error, wakes};

/// Frames are taken until so many bytes wait for the socket: what it does not take stays where it is bounded.
pub(crate) const BATCH: usize = 64 * 1024;
/// Up to so many frames a key is looked for one by one; past them an index is cheaper.
const SCANNED: usize = 32;
/// An outbox tells its node how much it holds in steps of so many bytes: a client that keeps up touches nothing
/// that connections share.
const STEP: usize = 4 * 1024;

/// How much may wait in one connection's outbox; past either the connection is closed with 4002.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) frames: usize,
    pub(crate) bytes: usize,
}

/// What waits in one connection's outbox: pushes that the client was too slow to take so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Queued {
    /// How many pushes.
    pub pushes: usize,
    /// How many bytes they have, frame headers included.
    pub bytes: usize,
}

/// What waits in all outboxes of a node, in bytes, and how much that may be.
#[derive(Debug)]
pub(crate) struct Backlog {
    bytes: AtomicUsize,
    most: usize,
}

impl Backlog {
    pub(crate) fn new(most: usize) -> Self {
        Self { bytes: AtomicUsize::new(0), most }
    }

    /// What waits, in steps of 4 KiB of each outbox.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.bytes() > self.most
    }

    fn report(&self, before: usize, now: usize) {
        if now > before {
            self.bytes.fetch_add(now - before, Ordering::Relaxed);
        } else if now < before {
            self.bytes.fetch_sub(before - now, Ordering::Relaxed);
        }
    }
}

/// Which `latest` push a frame is: its name and the fields of its key, byte by byte. Of equal ones one waits.
pub(crate) type Key = Arc<[u8]>;

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
    /// Set for good with `State::ending` or `State::closed`: asked between any two messages, without the lock.
    ends: AtomicBool,
    /// Whether pushes wait: asked for every message, without the lock.
    waits: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Boxed, and there only while something waits: an idle player pays for no queue.
    queue: Option<Box<Queue>>,
    /// Boxed: an order that most connections never get shall not cost them its size.
    ending: Option<Box<Ending>>,
    /// Nothing is taken any more.
    closed: bool,
    waker: Option<Waker>,
}

impl State {
    fn takes_pushes(&self) -> bool {
        !self.closed && matches!(self.ending.as_deref(), None | Some(Ending::Drain))
    }
}

impl Outbox {
    /// Puts one encoded frame in: in place of the one that waits under its key, else behind the others. At the bound
    /// the queue is dropped and the connection ends with 4002.
    pub(crate) fn push(
        &self,
        frame: Bytes,
        key: Option<&Key>,
        bounds: Bounds,
        backlog: &Backlog,
    ) -> Result<(), SendError> {
        if frame.len() > bounds.bytes {
            return Err(SendError::TooLarge(frame.len()));
        }
        let mut state = self.state();
        if !state.takes_pushes() {
            return Err(SendError::Closed);
        }
        let queue = state.queue.get_or_insert_default();
        if !queue.put(frame, key, bounds) {
            self.drop_queue(&mut state, backlog);
            self.order(state, Ending::Overflow);
            return Err(SendError::TooSlow);
        }
        queue.report(backlog);
        self.waits.store(true, Ordering::Release);
        wake(state);
        Ok(())
    }

    /// Drops what waits and ends the connection with 4002, unless it is ending already.
    pub(crate) fn overflow(&self, backlog: &Backlog) {
        let mut state = self.state();
        self.drop_queue(&mut state, backlog);
        if state.takes_pushes() {
            self.order(state, Ending::Overflow);
        }
    }

    /// Orders the connection to end. The first order stands unless a later one overrides it.
    pub(crate) fn end(&self, ending: Ending) {
        let state = self.state();
        if !state.closed && state.ending.as_deref().is_none_or(|earlier| ending.overrides(earlier)) {
            self.order(state, ending);
        }
    }

    /// Whether the connection is to end, or has ended.
    pub(crate) fn ends(&self) -> bool {
        self.ends.load(Ordering::Acquire)
    }

    /// Whether pushes wait.
    pub(crate) fn waits(&self) -> bool {
        self.waits.load(Ordering::Acquire)
    }

    /// How much waits.
    pub(crate) fn queued(&self) -> Queued {
        let state = self.state();
        state
            .queue
            .as_ref()
            .map_or_else(Queued::default, |queue| Queued { pushes: queue.frames.len(), bytes: queue.bytes })
    }

    /// Appends all pushes that wait to `out`, however the connection is to end.
    pub(crate) fn take_pushes(&self, out: &mut Vec<u8>, backlog: &Backlog) {
        if self.waits() {
            self.empty(&mut self.state(), out, usize::MAX, backlog);
        }
    }

    /// Tells how the connection is to end, if it is, and appends what waits to `out` if `wanted` says so in view
    /// of that: all of it before an end, else one [`BATCH`]. The task is woken at the next change.
    pub(crate) fn take(
        &self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
        backlog: &Backlog,
        wanted: impl FnOnce(Option<&Ending>) -> bool,
    ) -> Option<Ending> {
        let mut state = self.state();
        if state.queue.is_some() && wanted(state.ending.as_deref()) {
            let most = if state.ending.is_some() { usize::MAX } else { BATCH };
            self.empty(&mut state, out, most, backlog);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        state.ending.as_deref().cloned()
    }

    /// Nothing is taken from now on, and what waits is dropped.
    pub(crate) fn close(&self, backlog: &Backlog) {
        let mut state = self.state();
        self.drop_queue(&mut state, backlog);
        *state = State { closed: true, ..State::default() };
        self.ends.store(true, Ordering::Release);
    }

    fn empty(&self, state: &mut State, out: &mut Vec<u8>, most: usize, backlog: &Backlog) {
        let Some(queue) = &mut state.queue else { return };
        queue.take(out, most);
        queue.report(backlog);
        if queue.frames.is_empty() {
            state.queue = None;
            self.waits.store(false, Ordering::Release);
        }
    }

    fn drop_queue(&self, state: &mut State, backlog: &Backlog) {
        if let Some(mut queue) = state.queue.take() {
            queue.bytes = 0;
            queue.report(backlog);
        }
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
        wakes::wake(waker);
    }
}

/// Frames in the order in which they are sent.
#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Waiting>,
    bytes: usize,
    /// What of `bytes` the node was told.
    reported: usize,
    /// How many frames have left at the front: turns a place in the index into one in `frames`.
    left: u64,
    /// Where each key waits; only while many frames do.
    index: Option<HashMap<Key, u64>>,
}

#[derive(Debug)]
struct Waiting {
    frame: Bytes,
    /// Of a `latest` push.
    key: Option<Key>,
}

impl Queue {
    /// `false` if the bounds do not allow it: then nothing has changed.
    fn put(&mut self, frame: Bytes, key: Option<&Key>, bounds: Bounds) -> bool {
        let place = key.and_then(|key| self.find(key));
        let replaced = place.map_or(0, |place| self.frames[place].frame.len());
        let bytes = self.bytes - replaced + frame.len();
        if bytes > bounds.bytes || (place.is_none() && self.frames.len() >= bounds.frames) {
            return false;
        }
        self.bytes = bytes;
        if let Some(place) = place {
            self.frames[place].frame = frame;
            return true;
        }
        if let (Some(index), Some(key)) = (&mut self.index, key) {
            index.insert(Arc::clone(key), self.left + self.frames.len() as u64);
        }
        self.frames.push_back(Waiting { frame, key: key.cloned() });
        true
    }

    fn find(&mut self, key: &Key) -> Option<usize> {
        if self.index.is_none() {
            if self.frames.len() <= SCANNED {
                return self.frames.iter().position(|waiting| waiting.key.as_ref() == Some(key));
            }
            let keys = self.frames.iter().map(|waiting| waiting.key.clone());
            let places = (self.left..).zip(keys).filter_map(|(place, key)| Some((key?, place)));
            self.index = Some(places.collect());
        }
        let place = self.index.as_ref()?.get(key)? - self.left;
        // A place among the frames, which are counted by a `usize`.
        usize::try_from(place).ok()
    }

    /// Appends frames to `out` until it has so many bytes.
    fn take(&mut self, out: &mut Vec<u8>, most: usize) {
        out.reserve(self.bytes.min(most.saturating_sub(out.len())));
        while out.len() < most
            && let Some(Waiting { frame, key }) = self.frames.pop_front()
        {
            out.extend_from_slice(&frame);
            self.bytes -= frame.len();
            self.left += 1;
            if let (Some(index), Some(key)) = (&mut self.index, key) {
                index.remove(&key);
            }
        }
    }

    fn report(&mut self, backlog: &Backlog) {
        let now = self.bytes - self.bytes % STEP;
        backlog.report(mem::replace(&mut self.reported, now), now);
    }
}

impl From<SendError> for Error {
    /// The client whose request fails for it sees `unavailable` if other nodes cannot be reached, and `internal`
    /// otherwise; where it is a client that has gone or is too slow, that is nothing an operator has to look into.
    fn from(error: SendError) -> Self {
        match error {
            SendError::Unavailable => Self::new("unavailable", error.to_string()),
            SendError::Closed | SendError::TooSlow => Self::new("internal", "internal error"),
            SendError::TooLarge(_) | SendError::Encode(_) => Self::internal(error),
        }
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
    /// The push alone has so many bytes, more than an outbox may hold ([`Server::outbox`](crate::Server::outbox)): it is
    /// sent to nobody.
    #[error("the push has {0} bytes, more than an outbox may hold")]
    TooLarge(usize),
    /// The other nodes of the cluster cannot be reached, or too much waits for them already. Those of this node got the
    /// push.
    #[error("other nodes cannot be reached; those of this node got the push")]
    Unavailable,
    /// The push cannot be written as JSON.
    #[error("the push cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::AtomicU32,
        task::Wake,
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    /// How long a wake may take before it counts as lost.
    const LIMIT: Duration = Duration::from_secs(30);
    const BOUNDS: Bounds = Bounds { frames: 100, bytes: 1000 };

    fn put(queue: &mut Queue, key: Option<&str>, text: &str) -> bool {
        let key = key.map(|key| Key::from(key.as_bytes()));
        queue.put(Bytes::copy_from_slice(text.as_bytes()), key.as_ref(), BOUNDS)
    }

    fn text(queue: &mut Queue, most: usize) -> String {
        let mut out = Vec::new();
        queue.take(&mut out, most);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_newer_one_takes_the_place_of_the_one_that_waits() {
        let mut queue = Queue::default();
        for (key, frame) in [(Some("a"), "A1 "), (None, "x "), (Some("b"), "B1 "), (Some("a"), "A22 ")] {
            assert!(put(&mut queue, key, frame));
        }
        assert_eq!(queue.bytes, 4 + 2 + 3);
        assert_eq!(text(&mut queue, usize::MAX), "A22 x B1 ");
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn places_are_found_among_many_and_after_some_have_left() {
        let mut queue = Queue::default();
        for round in 0..3 {
            for key in 0..60 {
                assert!(put(&mut queue, Some(&key.to_string()), &format!("{round}:{key:02} ")));
            }
        }
        assert_eq!((queue.frames.len(), queue.bytes), (60, 300));
        let expected = |keys: std::ops::Range<usize>, round: usize| -> String {
            keys.map(|key| format!("{round}:{key:02} ")).collect::<Vec<_>>().concat()
        };
        assert_eq!(text(&mut queue, 50), expected(0..10, 2));
        assert!(put(&mut queue, Some("59"), "3:59 "));
        assert!(put(&mut queue, Some("0"), "3:00 "), "one that has left waits no more");
        assert_eq!(text(&mut queue, usize::MAX), expected(10..59, 2) + "3:59 3:00 ");
    }

    #[test]
    fn bounds_hold_for_replacements_too() {
        let mut queue = Queue::default();
        for key in 0..100 {
            assert!(put(&mut queue, Some(&key.to_string()), "0123456789"));
        }
        assert!(!put(&mut queue, None, ""), "too many");
        assert!(put(&mut queue, Some("7"), "9876543210"), "no more than before");
        assert!(!put(&mut queue, Some("7"), "0123456789+"), "too many bytes");
        assert_eq!(queue.bytes, 1000);
    }

    #[test]
    fn the_backlog_is_what_the_outboxes_hold() {
        let (backlog, outbox) = (Backlog::new(10 * STEP), Outbox::default());
        let bounds = Bounds { frames: 100, bytes: usize::MAX };
        let push = |bytes| outbox.push(vec![0; bytes].into(), None, bounds, &backlog);
        push(STEP - 1).unwrap();
        assert_eq!(backlog.bytes(), 0);
        push(STEP).unwrap();
        assert_eq!((backlog.bytes(), backlog.is_over()), (STEP, false));
        push(10 * STEP).unwrap();
        assert!(backlog.is_over());
        outbox.take_pushes(&mut Vec::new(), &backlog);
        assert_eq!(backlog.bytes(), 0);
        push(3 * STEP).unwrap();
        outbox.overflow(&backlog);
        assert_eq!((backlog.bytes(), outbox.queued()), (0, Queued::default()));
        assert!(matches!(push(1), Err(SendError::Closed)));
    }

    /// Wakes a thread in place of a task.
    struct Unpark(thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    #[test]
    fn no_push_and_no_wake_is_lost_between_threads() {
        const PUSHERS: u8 = 3;
        const ROUNDS: u32 = 3000;
        let (backlog, outbox) = (Backlog::new(usize::MAX), Outbox::default());
        let bounds = Bounds { frames: usize::MAX, bytes: usize::MAX };
        let taken = [const { AtomicU32::new(0) }; PUSHERS as usize];
        let push = |pusher: u8| {
            let mut number = 0_u32;
            for round in 0..ROUNDS {
                for _ in 0..=round % 3 {
                    let frame = [&[pusher][..], &number.to_be_bytes()].concat();
                    outbox.push(frame.into(), None, bounds, &backlog).unwrap();
                    number += 1;
                }
                // Nothing more comes until this round is taken: no later wake makes up for one that is lost.
                let pushed = Instant::now();
                while taken.iter().any(|taken| taken.load(Ordering::Relaxed) < number) {
                    assert!(pushed.elapsed() < LIMIT, "a wake was lost, or a push");
                    thread::yield_now();
                }
            }
        };
        let take = || {
            let waker = Waker::from(Arc::new(Unpark(thread::current())));
            let mut out = Vec::new();
            loop {
                let ending = outbox.take(&mut Context::from_waker(&waker), &mut out, &backlog, |_| true);
                for frame in out.chunks_exact(5) {
                    let next = taken[usize::from(frame[0])].fetch_add(1, Ordering::Relaxed);
                    assert_eq!(frame[1..], next.to_be_bytes(), "from {}", frame[0]);
                }
                out.clear();
                if ending.is_some() {
                    return;
                }
                if !outbox.waits() {
                    let parked = Instant::now();
                    thread::park_timeout(LIMIT);
                    assert!(parked.elapsed() < LIMIT, "a wake was lost");
                }
            }
        };
        thread::scope(|scope| {
            scope.spawn(take);
            let push = &push;
            let pushing: Vec<_> = (0..PUSHERS).map(|pusher| scope.spawn(move || push(pusher))).collect();
            for pushing in pushing {
                pushing.join().unwrap();
            }
            // By now the other side has found nothing, and sleeps.
            (0..1000).for_each(|_| thread::yield_now());
            outbox.end(Ending::Drain);
        });
        assert_eq!(taken.map(AtomicU32::into_inner), [2 * ROUNDS; PUSHERS as usize]);
        assert_eq!((backlog.bytes(), outbox.queued()), (0, Queued::default()));
    }
}
