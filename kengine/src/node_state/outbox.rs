//! The bounded queue of frames for one connection's task, and the order that ends the connection.
//!
//! Any task may queue a frame; only the connection's task takes frames out.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::mem;
use std::sync::Arc;
use std::task::{Context, Waker};

use crate::node_state::deferred_wakes;
use crate::node_state::errors::SendError;
use crate::node_state::limits::{Duplicates, OutboxLimits};
use crate::node_state::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::node_state::sync::{Mutex, MutexGuard, thread_local};
use crate::node_state::workers::TaskWorker;
use crate::protocol::resumption::{Exchange, KeyedFrame};
use crate::protocol::{DisconnectReason, PushKey};
use crate::websocket::{Close, CloseCode};

/// How many bytes the connection's task takes at once. Frames beyond that stay in the outbox, which is bounded.
pub(crate) const BATCH: usize = 64 * 1024;
/// A connection that is shed still gets a close frame if at most this many bytes are unsent. Otherwise its socket is
/// dropped. A [`BATCH`] with its last frame is usually smaller.
const MAX_LINGERING: usize = 2 * BATCH;
/// The maximum number of waiting frames among which a key is found by a linear search. Among more, an index finds it.
const MAX_SCANNED: usize = 32;
/// An outbox reports its size to the node in steps of this number of bytes. So the outbox of a client that keeps up
/// never writes to memory that connections share.
pub(super) const REPORT_STEP: usize = 4 * 1024;
/// How many empty queues a thread keeps. Further ones are freed.
const MAX_SPARE: usize = 1024;
/// The largest capacity of a queue that is kept, in frames.
const MAX_SPARE_CAPACITY: usize = 8;

type SpareQueues = Vec<Box<Queue>>;

thread_local! {
    /// Empty queues. The next outboxes that get a push take them, so that a push to a room allocates nothing for each
    /// of its members, although an idle connection has no queue.
    static SPARE: RefCell<SpareQueues> = const { RefCell::new(Vec::new()) };
}

/// What waits for one client because it has not read it yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Queued {
    /// The number of pushes.
    pub pushes: usize,
    /// Their size in bytes, including frame headers.
    pub bytes: usize,
    /// The size in bytes of the answers and pushes that have left the outbox, and that the socket does not take because
    /// the client does not read. They count as a whole until all of them are sent. 0 for a client that reads.
    pub unsent: usize,
}

/// The total size of all outboxes of a node, with what their sockets do not take.
#[derive(Debug)]
pub(crate) struct Backlog {
    bytes: AtomicUsize,
    max: usize,
    /// Whether frames for several connections [count by themselves](SharedFrame): once for the node, although each
    /// outbox counts them for its own limit. So it is where many players may be away, with the same pushes kept for
    /// each.
    counts_shared: bool,
}

/// Counts a frame for several connections for the node once, as long as a connection keeps it.
#[derive(Debug)]
struct SharedFrame {
    size: usize,
    backlog: Arc<Backlog>,
}

impl Drop for SharedFrame {
    fn drop(&mut self) {
        self.backlog.report(self.size, 0);
    }
}

impl Backlog {
    pub(crate) fn new(max: usize) -> Self {
        Self { bytes: AtomicUsize::new(0), max, counts_shared: false }
    }

    /// Creates the backlog of a node on which shared frames count once.
    pub(crate) fn counting_shared(max: usize) -> Self {
        Self { counts_shared: true, ..Self::new(max) }
    }

    pub(super) fn counts_shared(&self) -> bool {
        self.counts_shared
    }

    /// Returns a frame for several connections, and counts it if this node counts such frames once.
    pub(crate) fn share(self: &Arc<Self>, frame: Vec<u8>, key: Option<PushKey>) -> KeyedFrame {
        if !self.counts_shared {
            return KeyedFrame::own(frame, key);
        }
        let size = frame.len();
        self.report(0, size);
        KeyedFrame::shared(frame, key, SharedFrame { size, backlog: Arc::clone(self) })
    }

    /// Returns the total in bytes, in steps of 4 KiB per connection.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.bytes() > self.max
    }

    fn report(&self, before: usize, now: usize) {
        if now > before {
            self.bytes.fetch_add(now - before, Ordering::Relaxed);
        } else if now < before {
            self.bytes.fetch_sub(before - now, Ordering::Relaxed);
        }
    }
}

/// How the server ends a connection.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    /// Handle and answer what was read, then send close code 4000.
    Drain,
    /// Send what is queued, then the close frame of this reason. Handle nothing more.
    Close(DisconnectReason),
    /// The client does not read: drop what is queued, and send only the close frame.
    Overflow,
    /// The client does not read, and the node needs the memory of what it has not read: drop the socket.
    Shed,
    /// The drain's deadline has passed: cancel the running handler and drop the socket.
    Abandon,
}

impl Ending {
    /// Returns how the connection ends that does not get a uid, or loses it.
    pub(crate) fn of_duplicate(duplicates: Duplicates) -> Self {
        match duplicates {
            Duplicates::Refuse => {
                let close = Close::new(CloseCode::ALREADY_CONNECTED, "already connected");
                Self::Close(DisconnectReason::Server(close))
            }
            Duplicates::Replace | Duplicates::Allow => Self::Close(DisconnectReason::Replaced),
        }
    }

    /// Whether this ending replaces an earlier one. Anything replaces a drain, `Shed` replaces anything else, and
    /// `Abandon` replaces anything.
    fn overrides(&self, earlier: &Self) -> bool {
        match self {
            Self::Abandon => true,
            Self::Shed => !matches!(earlier, Self::Abandon),
            _ => matches!(earlier, Self::Drain),
        }
    }
}

/// Where waiting pushes are moved.
pub(crate) struct Destination<'o> {
    pub(crate) out: &'o mut Vec<u8>,
    /// Keeps them until the client acknowledges them, if its session can be resumed.
    pub(crate) exchange: Option<&'o mut Exchange>,
}

impl Destination<'_> {
    #[inline]
    fn add(&mut self, frame: KeyedFrame) {
        self.out.extend_from_slice(frame.bytes());
        if let Some(exchange) = &mut self.exchange {
            exchange.record_sent(frame);
        }
    }
}

impl<'o> From<&'o mut Vec<u8>> for Destination<'o> {
    fn from(out: &'o mut Vec<u8>) -> Self {
        Self { out, exchange: None }
    }
}

/// The frames that wait for one connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Set once `OutboxState::ending` or `is_shut` is set, and never cleared. Read between messages,
    /// without the lock.
    is_ending: AtomicBool,
    /// Whether pushes wait. Read for every message, without the lock.
    has_pushes: AtomicBool,
    /// Whether the connection's task will be woken by the next change. Cleared before it is woken.
    will_wake: AtomicBool,
    /// Whether the connection's task must check the silence of its client.
    is_reminded: AtomicBool,
    /// Whether a new connection waits to take the session over.
    is_summoned: AtomicBool,
    /// Whether the connection has ended, so that nothing can be queued. Written with the lock.
    is_shut: AtomicBool,
    /// The worker of the task that is woken. Changed only with the lock.
    worker: TaskWorker,
    state: Mutex<OutboxState>,
}

#[derive(Debug, Default)]
struct OutboxState {
    /// The only frame that waits, if it is small. Then the queue has no frames. Most connections read so fast that no
    /// second one waits, and need no queue.
    only: Option<KeyedFrame>,
    /// Boxed and present only while there is something in it, so that an idle connection has no queue.
    queue: Option<Box<Queue>>,
    waker: Option<Waker>,
}

impl OutboxState {
    fn ending(&self) -> Option<&Ending> {
        self.queue.as_deref().and_then(|queue| queue.ending.as_deref())
    }

    fn waits(&self) -> bool {
        self.only.is_some() || self.queue.is_some()
    }

    /// Whether this frame may wait without a queue: nothing else waits, and its size does not change the number of
    /// steps that are reported.
    #[inline]
    fn may_wait_alone(&self, frame: &KeyedFrame, limits: OutboxLimits) -> bool {
        let mut size = frame.own_size();
        if let Some(queue) = self.queue.as_deref() {
            if !queue.is_resting() {
                return false;
            }
            size += queue.total() % REPORT_STEP;
        }
        self.only.is_none() && size < REPORT_STEP && limits.max_pushes > 0
    }

    /// Returns the queue, with all frames that wait.
    fn gather(&mut self) -> &mut Queue {
        let queue = self.queue.get_or_insert_with(Queue::spare);
        if let Some(only) = self.only.take() {
            queue.append(only);
        }
        queue
    }

    /// Removes the queue if there is nothing in it.
    fn drop_empty_queue(&mut self) {
        self.queue.take_if(|queue| queue.is_empty());
    }
}

impl Outbox {
    /// Queues one encoded frame. It replaces the waiting frame with the same key, if there is one. If the outbox is
    /// full, its content is dropped and the connection ends with 4002.
    pub(crate) fn push(&self, frame: KeyedFrame, limits: OutboxLimits, backlog: &Backlog) -> Result<(), SendError> {
        if frame.size() > limits.max_size {
            return Err(SendError::TooLarge(frame.size()));
        }
        let mut state = self.state.lock();
        if !self.takes_pushes(&state) {
            return Err(SendError::Closed);
        }
        if state.may_wait_alone(&frame, limits) {
            state.only = Some(frame);
        } else {
            let queue = state.gather();
            if !queue.put(frame, limits) {
                self.drop_pushes(&mut state, backlog);
                self.order(state, Ending::Overflow);
                return Err(SendError::TooSlow);
            }
            queue.report(backlog);
        }
        self.has_pushes.store(true, Ordering::Release);
        self.wake(state);
        Ok(())
    }

    /// Frees the memory of a connection: drops all waiting pushes, and ends the connection with 4002 if it takes
    /// pushes. If it does not, or if more than [`MAX_LINGERING`] is unsent, its socket is dropped, because the memory
    /// is free only then. Returns whether this call has ended the connection.
    pub(crate) fn shed(&self, backlog: &Backlog) -> bool {
        let mut state = self.state.lock();
        let unsent = state.queue.as_deref().map_or(0, |queue| queue.unsent);
        self.drop_all(&mut state, backlog);
        let was_open = self.takes_pushes(&state);
        if was_open && unsent <= MAX_LINGERING {
            self.order(state, Ending::Overflow);
        } else if unsent > 0 && state.ending().is_none_or(|earlier| Ending::Shed.overrides(earlier)) {
            self.order(state, Ending::Shed);
        }
        was_open
    }

    /// Records how many bytes the socket does not take. They count like waiting pushes, also after the connection has
    /// ended.
    pub(crate) fn set_unsent(&self, bytes: usize, backlog: &Backlog) {
        let mut state = self.state.lock();
        let is_dropped = match state.ending() {
            Some(Ending::Shed) => true,
            // The connection's task has not dropped it yet.
            Some(Ending::Overflow) => !self.is_shut(),
            _ => false,
        };
        if is_dropped {
            // It is counted as free already.
            return;
        }
        let queue = state.queue.get_or_insert_default();
        queue.unsent = bytes;
        queue.report(backlog);
        state.drop_empty_queue();
    }

    /// Records the number and the size of the messages that are kept until the client acknowledges them. Their size
    /// counts for the node like that of waiting pushes. While the player is away (`is_away`), they count for the limits
    /// of this outbox too.
    pub(crate) fn set_kept(&self, exchange: &Exchange, is_away: bool, backlog: &Backlog) {
        let mut state = self.state.lock();
        if self.is_shut() {
            return;
        }
        let queue = state.gather();
        let kept = Kept { len: exchange.len(), size: exchange.size(), own_size: exchange.own_size(), is_away };
        queue.kept = (kept.len > 0).then(|| Box::new(kept));
        queue.report(backlog);
        state.drop_empty_queue();
    }

    /// Returns the keys of the `latest` pushes that wait.
    pub(crate) fn waiting_keys(&self) -> HashSet<PushKey> {
        let state = self.state.lock();
        let frames = state.queue.iter().flat_map(|queue| &queue.frames).chain(&state.only);
        frames.filter_map(|waiting| waiting.key().cloned()).collect()
    }

    /// Orders the connection to end. The first order stands unless a later one overrides it. Returns whether this one
    /// stands.
    pub(crate) fn end(&self, ending: Ending) -> bool {
        let state = self.state.lock();
        // A connection that has ended may still be cut off.
        let is_in_time = !self.is_shut() || matches!(ending, Ending::Abandon);
        let stands = is_in_time && state.ending().is_none_or(|earlier| ending.overrides(earlier));
        if stands {
            self.order(state, ending);
        }
        stands
    }

    /// Whether the connection was ordered to end, or has ended.
    #[inline]
    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }

    /// Whether the connection was ordered to end because a newer one has its uid.
    pub(crate) fn is_replaced(&self) -> bool {
        let state = self.state.lock();
        matches!(state.ending(), Some(Ending::Close(DisconnectReason::Replaced)))
    }

    /// Returns how many bytes wait for this client or are kept for it, also in frames that others share.
    pub(crate) fn backlog(&self) -> usize {
        let state = self.state.lock();
        let in_queue = state.queue.as_deref().map_or(0, |queue| queue.bytes + queue.unsent + queue.kept_size());
        in_queue + state.only.as_ref().map_or(0, KeyedFrame::size)
    }

    #[inline]
    pub(crate) fn has_pushes(&self) -> bool {
        self.has_pushes.load(Ordering::Acquire)
    }

    pub(crate) fn queued(&self) -> Queued {
        let state = self.state.lock();
        let in_queue = |queue: &Queue| Queued { pushes: queue.frames.len(), bytes: queue.bytes, unsent: queue.unsent };
        let mut queued = state.queue.as_deref().map_or_else(Queued::default, in_queue);
        if let Some(only) = &state.only {
            queued.pushes += 1;
            queued.bytes += only.size();
        }
        queued
    }

    /// Moves all waiting pushes, even if the connection is ending.
    #[inline]
    pub(crate) fn take_pushes<'o>(&self, to: impl Into<Destination<'o>>, backlog: &Backlog) {
        if self.has_pushes() {
            self.move_to(&mut self.state.lock(), &mut to.into(), usize::MAX, backlog);
        }
    }

    /// Whether pushes wait or something else has changed since the last call of [`take`](Self::take).
    #[inline]
    pub(crate) fn has_changed(&self) -> bool {
        !self.will_wake.load(Ordering::Acquire) || self.has_pushes()
    }

    /// Returns how the connection was ordered to end, if it was, and registers the task to be woken by the next change.
    /// Needless if nothing [has changed](Self::has_changed).
    ///
    /// If `wants_pushes` returns true for that ending, waiting pushes are moved: all of them before an end, and
    /// otherwise one [`BATCH`].
    pub(crate) fn take<'o>(
        &self,
        cx: &mut Context<'_>,
        to: impl Into<Destination<'o>>,
        backlog: &Backlog,
        wants_pushes: impl FnOnce(Option<&Ending>) -> bool,
    ) -> Option<Ending> {
        let mut state = self.state.lock();
        if state.waits() && wants_pushes(state.ending()) {
            let max = if state.ending().is_some() { usize::MAX } else { BATCH };
            self.move_to(&mut state, &mut to.into(), max, backlog);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        self.worker.set_current();
        self.will_wake.store(true, Ordering::Release);
        state.ending().cloned()
    }

    /// Wakes the connection's task to check the silence of its client.
    pub(crate) fn remind(&self) {
        self.is_reminded.store(true, Ordering::Relaxed);
        self.wake(self.state.lock());
    }

    /// Returns whether the task was reminded since the last call.
    #[inline]
    pub(crate) fn take_reminder(&self) -> bool {
        // Nothing else is written by who reminds, so no order is needed.
        self.is_reminded.load(Ordering::Relaxed) && self.is_reminded.swap(false, Ordering::Relaxed)
    }

    /// Wakes the connection's task because a new connection waits to take its session over.
    pub(crate) fn summon(&self) {
        self.is_summoned.store(true, Ordering::Release);
        self.wake(self.state.lock());
    }

    /// Whether the task was summoned since it has last [seen](Self::take_summons) that.
    #[inline]
    pub(crate) fn is_summoned(&self) -> bool {
        self.is_summoned.load(Ordering::Relaxed)
    }

    /// Returns whether the task was summoned since the last call.
    #[inline]
    pub(crate) fn take_summons(&self) -> bool {
        self.is_summoned() && self.is_summoned.swap(false, Ordering::AcqRel)
    }

    /// Forgets which task is woken, because another one will call [`take`](Self::take).
    pub(crate) fn forget_waker(&self) {
        self.will_wake.store(false, Ordering::Release);
    }

    /// Drops all waiting pushes. Nothing can be queued from now on, but the connection may still be cut off.
    pub(crate) fn shut(&self, backlog: &Backlog) {
        let mut state = self.state.lock();
        if let Some(queue) = &mut state.queue {
            queue.kept = None;
        }
        self.drop_pushes(&mut state, backlog);
        self.is_shut.store(true, Ordering::Relaxed);
        self.is_ending.store(true, Ordering::Release);
    }

    /// Ends the connection because its session is handed over, and moves the pushes that wait to those that are kept.
    /// Nothing can be queued from now on. Returns `false` and does nothing if the connection has ended, or was ordered
    /// to end otherwise than by a drain.
    pub(crate) fn give_up(&self, exchange: &mut Exchange, backlog: &Backlog) -> bool {
        let mut state = self.state.lock();
        if !self.takes_pushes(&state) {
            return false;
        }
        self.move_to(
            &mut state,
            &mut Destination { out: &mut Vec::new(), exchange: Some(exchange) },
            usize::MAX,
            backlog,
        );
        self.drop_all(&mut state, backlog);
        self.is_shut.store(true, Ordering::Relaxed);
        self.is_ending.store(true, Ordering::Release);
        true
    }

    /// Whether the connection was ordered to end, other than by a drain, or has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.is_ending() && !self.takes_pushes(&self.state.lock())
    }

    /// Returns how the connection was ordered to be closed, if it was.
    pub(crate) fn close_order(&self) -> Option<DisconnectReason> {
        match self.state.lock().ending() {
            Some(Ending::Close(reason)) => Some(reason.clone()),
            _ => None,
        }
    }

    /// Forgets the connection's task, which has ended.
    pub(crate) fn detach(&self, backlog: &Backlog) {
        let mut state = self.state.lock();
        self.drop_all(&mut state, backlog);
        *state = OutboxState::default();
        self.is_shut.store(true, Ordering::Relaxed);
    }

    fn takes_pushes(&self, state: &OutboxState) -> bool {
        !self.is_shut() && matches!(state.ending(), None | Some(Ending::Drain))
    }

    fn is_shut(&self) -> bool {
        self.is_shut.load(Ordering::Relaxed)
    }

    fn move_to(&self, state: &mut OutboxState, to: &mut Destination<'_>, max: usize, backlog: &Backlog) {
        if let Some(only) = state.only.take_if(|_| to.out.len() < max) {
            to.add(only);
            return self.has_pushes.store(false, Ordering::Release);
        }
        self.move_queued(state, to, max, backlog);
    }

    fn move_queued(&self, state: &mut OutboxState, to: &mut Destination<'_>, max: usize, backlog: &Backlog) {
        let Some(queue) = &mut state.queue else { return };
        queue.take(to, max);
        queue.report(backlog);
        if queue.frames.is_empty() && state.only.is_none() {
            self.has_pushes.store(false, Ordering::Release);
        }
        if queue.is_empty() {
            state.queue.take().into_iter().for_each(Queue::keep);
        }
    }

    fn drop_pushes(&self, state: &mut OutboxState, backlog: &Backlog) {
        state.only = None;
        if let Some(queue) = &mut state.queue {
            let (unsent, kept, ending, reported) =
                (queue.unsent, queue.kept.take(), queue.ending.take(), queue.reported);
            **queue = Queue { unsent, kept, ending, reported, ..Queue::default() };
            queue.report(backlog);
        }
        state.drop_empty_queue();
        self.has_pushes.store(false, Ordering::Release);
    }

    /// Drops all waiting pushes, and counts what is unsent as free.
    fn drop_all(&self, state: &mut OutboxState, backlog: &Backlog) {
        if let Some(queue) = &mut state.queue {
            (queue.unsent, queue.kept) = (0, None);
        }
        self.drop_pushes(state, backlog);
    }

    fn order(&self, mut state: MutexGuard<'_, OutboxState>, ending: Ending) {
        state.queue.get_or_insert_default().ending = Some(Box::new(ending));
        self.is_ending.store(true, Ordering::Release);
        self.wake(state);
    }

    /// Wakes the connection's task after releasing the lock, because the task takes the lock at once.
    fn wake(&self, mut state: MutexGuard<'_, OutboxState>) {
        self.will_wake.store(false, Ordering::Release);
        let waker = state.waker.take();
        let worker = self.worker.get();
        drop(state);
        if let Some(waker) = waker {
            deferred_wakes::wake(waker, worker);
        }
    }
}

/// Frames in the order in which they are sent, and what else is rarely known of an outbox.
#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<KeyedFrame>,
    bytes: usize,
    /// The bytes that have left the queue and that the socket does not take.
    unsent: usize,
    /// The messages that are kept until the client acknowledges them. Absent if there are none.
    kept: Option<Box<Kept>>,
    /// How the connection was ordered to end.
    ending: Option<Box<Ending>>,
    /// The size of the waiting frames that no other connection shares.
    own: usize,
    /// The size that was last reported to the backlog.
    reported: usize,
    /// How many frames were taken from the front so far. A position in `index` minus this is a position in `frames`.
    taken: u64,
    /// The position of each key. Boxed, because it is present only while many frames wait.
    #[expect(clippy::box_collection, reason = "this keeps an empty queue small")]
    index: Option<Box<HashMap<PushKey, u64>>>,
}

/// What is known of messages that are kept until the client acknowledges them.
#[derive(Debug)]
struct Kept {
    len: usize,
    /// Their size in bytes.
    size: usize,
    /// The size of those of them that no other connection shares.
    own_size: usize,
    /// Whether the player is away. Only then they count for the limits of the outbox.
    is_away: bool,
}

impl Queue {
    /// Takes a queue that this thread has kept, or allocates one.
    #[expect(clippy::unnecessary_box_returns, reason = "the box is what is reused")]
    fn spare() -> Box<Self> {
        SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// Keeps an empty queue for an outbox that will need one.
    fn keep(mut self: Box<Self>) {
        if self.frames.capacity() > MAX_SPARE_CAPACITY {
            return;
        }
        (self.taken, self.index) = (0, None);
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < MAX_SPARE {
                spare.push(self);
            }
        });
    }

    /// Adds or replaces a frame. Returns `false` and changes nothing if the limits do not allow it.
    fn put(&mut self, frame: KeyedFrame, limits: OutboxLimits) -> bool {
        let position = frame.key().and_then(|key| self.find(key));
        let replaced = position.map_or(0, |position| self.frames[position].size());
        let bytes = self.bytes - replaced + frame.size();
        let kept = self.kept.as_deref().filter(|kept| kept.is_away);
        let (kept, kept_bytes) = kept.map_or((0, 0), |kept| (kept.len, kept.size));
        if bytes + kept_bytes > limits.max_size || (position.is_none() && self.frames.len() + kept >= limits.max_pushes)
        {
            return false;
        }
        let Some(position) = position else {
            self.append(frame);
            return true;
        };
        self.bytes = bytes;
        self.own += frame.own_size();
        self.own -= mem::replace(&mut self.frames[position], frame).own_size();
        true
    }

    /// Adds a frame at the end.
    fn append(&mut self, frame: KeyedFrame) {
        self.bytes += frame.size();
        self.own += frame.own_size();
        if let (Some(index), Some(key)) = (&mut self.index, frame.key()) {
            index.insert(Arc::clone(key), self.taken + self.frames.len() as u64);
        }
        self.frames.push_back(frame);
    }

    fn find(&mut self, key: &PushKey) -> Option<usize> {
        if self.index.is_none() {
            if self.frames.len() <= MAX_SCANNED {
                return self.frames.iter().position(|waiting| waiting.key() == Some(key));
            }
            let keys = self.frames.iter().map(|waiting| waiting.key().cloned());
            let positions = (self.taken..).zip(keys).filter_map(|(position, key)| Some((key?, position)));
            self.index = Some(Box::new(positions.collect()));
        }
        let position = self.index.as_ref()?.get(key)? - self.taken;
        // Always fits: it is a position in `frames`.
        usize::try_from(position).ok()
    }

    /// Moves frames until the output has at least `max` bytes or no frame is left.
    fn take(&mut self, to: &mut Destination<'_>, max: usize) {
        to.out.reserve(self.bytes.min(max.saturating_sub(to.out.len())));
        while to.out.len() < max
            && let Some(waiting) = self.frames.pop_front()
        {
            self.bytes -= waiting.size();
            self.own -= waiting.own_size();
            self.taken += 1;
            if let (Some(index), Some(key)) = (&mut self.index, waiting.key()) {
                index.remove(key);
            }
            to.add(waiting);
        }
    }

    fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.unsent == 0 && self.kept.is_none() && self.ending.is_none()
    }

    /// Whether no frame waits, and none would be refused.
    fn is_resting(&self) -> bool {
        self.frames.is_empty() && self.unsent == 0 && self.kept.as_deref().is_none_or(|kept| !kept.is_away)
    }

    /// Returns the size of everything that is in memory for this client alone, in bytes.
    fn total(&self) -> usize {
        self.own + self.unsent + self.kept.as_deref().map_or(0, |kept| kept.own_size)
    }

    /// Returns the size of the messages that are kept, in bytes.
    fn kept_size(&self) -> usize {
        self.kept.as_deref().map_or(0, |kept| kept.size)
    }

    fn report(&mut self, backlog: &Backlog) {
        let bytes = self.total();
        let now = bytes - bytes % REPORT_STEP;
        backlog.report(mem::replace(&mut self.reported, now), now);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::task::Wake;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::websocket::CloseCode;

    /// How long a wake may take before it counts as lost.
    const WAKE_TIMEOUT: Duration = Duration::from_secs(30);
    const LIMITS: OutboxLimits = OutboxLimits { max_pushes: 100, max_size: 1000 };

    fn put(queue: &mut Queue, key: Option<&str>, text: &str) -> bool {
        let key = key.map(|key| PushKey::from(key.as_bytes()));
        queue.put(KeyedFrame::own(text.as_bytes().to_vec(), key), LIMITS)
    }

    fn text(queue: &mut Queue, max: usize) -> String {
        let mut out = Vec::new();
        queue.take(&mut (&mut out).into(), max);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_newer_push_replaces_the_waiting_one() {
        let mut queue = Queue::default();
        for (key, frame) in [(Some("a"), "A1 "), (None, "x "), (Some("b"), "B1 "), (Some("a"), "A22 ")] {
            assert!(put(&mut queue, key, frame));
        }
        assert_eq!(queue.bytes, 4 + 2 + 3);
        assert_eq!(text(&mut queue, usize::MAX), "A22 x B1 ");
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn keys_are_found_among_many_frames() {
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
        assert!(put(&mut queue, Some("0"), "3:00 "), "a frame that was taken is not replaced");
        assert_eq!(text(&mut queue, usize::MAX), expected(10..59, 2) + "3:59 3:00 ");
    }

    #[test]
    fn limits_hold_for_replacements_too() {
        let mut queue = Queue::default();
        for key in 0..100 {
            assert!(put(&mut queue, Some(&key.to_string()), "0123456789"));
        }
        assert!(!put(&mut queue, None, ""), "too many frames");
        assert!(put(&mut queue, Some("7"), "9876543210"), "a replacement of the same size fits");
        assert!(!put(&mut queue, Some("7"), "0123456789+"), "too many bytes");
        assert_eq!(queue.bytes, 1000);
    }

    #[test]
    fn the_backlog_is_the_sum_of_the_outboxes() {
        let (backlog, outbox) = (Backlog::new(10 * REPORT_STEP), Outbox::default());
        let limits = OutboxLimits { max_pushes: 100, max_size: usize::MAX };
        let push = |bytes| outbox.push(KeyedFrame::own(vec![0; bytes], None), limits, &backlog);
        push(REPORT_STEP - 1).unwrap();
        assert_eq!(backlog.bytes(), 0);
        push(REPORT_STEP).unwrap();
        assert_eq!((backlog.bytes(), backlog.is_over()), (REPORT_STEP, false));
        push(9 * REPORT_STEP).unwrap();
        assert_eq!((backlog.bytes(), backlog.is_over()), (10 * REPORT_STEP, false));
        push(REPORT_STEP).unwrap();
        assert!(backlog.is_over());
        outbox.take_pushes(&mut Vec::new(), &backlog);
        assert_eq!(backlog.bytes(), 0);
        push(3 * REPORT_STEP).unwrap();
        outbox.shed(&backlog);
        assert_eq!((backlog.bytes(), outbox.queued()), (0, Queued::default()));
        assert!(matches!(push(1), Err(SendError::Closed)));
    }

    #[test]
    fn a_push_that_can_never_fit_is_refused_and_the_connection_stays() {
        let (backlog, outbox) = (Backlog::new(usize::MAX), Outbox::default());
        let push = |bytes| outbox.push(KeyedFrame::own(vec![0; bytes], None), LIMITS, &backlog);
        for too_large in [LIMITS.max_size + 1, LIMITS.max_size + 2] {
            assert!(matches!(push(too_large), Err(SendError::TooLarge(bytes)) if bytes == too_large));
        }
        push(LIMITS.max_size).unwrap();
        assert!(!outbox.is_ending());
    }

    #[test]
    fn an_ending_stands_if_it_is_the_first_or_overrides_the_first() {
        let (backlog, outbox) = (Backlog::new(usize::MAX), Outbox::default());
        let kicked = || Ending::Close(DisconnectReason::Server(Close::from(CloseCode::KICKED)));
        assert!(!outbox.is_ending());
        assert!(outbox.end(Ending::Drain));
        assert!(outbox.is_ending());
        assert!(outbox.end(kicked()));
        assert!(!outbox.end(kicked()));
        assert!(!outbox.end(Ending::Drain));
        assert!(outbox.end(Ending::Abandon));

        let outbox = Outbox::default();
        outbox.shut(&backlog);
        assert!(outbox.is_ending());
        assert!(!outbox.end(kicked()), "the connection has ended");
        assert!(outbox.end(Ending::Abandon));
    }

    #[test]
    fn pushes_wait_until_the_task_wants_them() {
        let (backlog, outbox) = (Backlog::new(usize::MAX), Outbox::default());
        let mut out = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        outbox.push(KeyedFrame::own(b"a".to_vec(), None), LIMITS, &backlog).unwrap();
        assert!(outbox.take(&mut cx, &mut out, &backlog, |_| false).is_none());
        assert!(out.is_empty() && outbox.has_pushes());
        assert!(outbox.take(&mut cx, &mut out, &backlog, |_| true).is_none());
        assert_eq!(out, b"a");
    }

    #[derive(Default)]
    struct WakeCount(AtomicU32);

    impl Wake for WakeCount {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_task_that_looked_last_is_woken_once() {
        let (backlog, outbox) = (Backlog::new(usize::MAX), Outbox::default());
        let woken = [const { AtomicU32::new(0) }; 2].map(|count| Arc::new(WakeCount(count)));
        for task in &woken {
            outbox.forget_waker();
            let waker = Waker::from(Arc::clone(task));
            assert!(outbox.take(&mut Context::from_waker(&waker), &mut Vec::new(), &backlog, |_| true).is_none());
        }
        for _ in 0..2 {
            outbox.push(KeyedFrame::own(b"a".to_vec(), None), LIMITS, &backlog).unwrap();
        }
        assert_eq!(woken.map(|task| task.0.load(Ordering::Relaxed)), [0, 1]);
    }

    #[test]
    fn a_small_frame_is_counted_together_with_what_is_kept() {
        let (backlog, outbox) = (Backlog::new(usize::MAX), Outbox::default());
        let mut exchange = Exchange::default();
        exchange.record_sent(KeyedFrame::own(vec![0; REPORT_STEP - 1], None));
        outbox.set_kept(&exchange, false, &backlog);
        assert_eq!(backlog.bytes(), 0);
        outbox.push(KeyedFrame::own(b"a".to_vec(), None), LIMITS, &backlog).unwrap();
        assert_eq!(backlog.bytes(), REPORT_STEP);
    }

    #[test]
    fn nothing_is_queued_for_a_task_that_has_ended() {
        let (backlog, outbox) = (Backlog::new(usize::MAX), Outbox::default());
        outbox.detach(&backlog);
        let refused = outbox.push(KeyedFrame::own(b"a".to_vec(), None), LIMITS, &backlog);
        assert!(matches!(refused, Err(SendError::Closed)));
    }

    #[test]
    fn what_the_socket_does_not_take_counts_until_the_outbox_is_shed() {
        let (backlog, outbox) = (Backlog::new(0), Outbox::default());
        let limits = OutboxLimits { max_pushes: 100, max_size: usize::MAX };
        let ending = || outbox.state.lock().ending().map(|ending| format!("{ending:?}"));
        outbox.set_unsent(0, &backlog);
        assert!(outbox.state.lock().queue.is_none());
        outbox.set_unsent(REPORT_STEP - 1, &backlog);
        outbox.push(KeyedFrame::own(vec![0; 1], None), limits, &backlog).unwrap();
        assert_eq!(outbox.queued(), Queued { pushes: 1, bytes: 1, unsent: REPORT_STEP - 1 });
        assert_eq!(backlog.bytes(), REPORT_STEP, "the sum is rounded, not its parts");
        outbox.take_pushes(&mut Vec::new(), &backlog);
        assert!(!outbox.has_pushes());
        assert_eq!(outbox.queued(), Queued { pushes: 0, bytes: 0, unsent: REPORT_STEP - 1 });
        outbox.set_unsent(0, &backlog);
        assert!(outbox.state.lock().queue.is_none());

        // First, the client gets a close frame after the rest of a frame.
        outbox.set_unsent(BATCH, &backlog);
        for _ in 0..2 {
            outbox.shed(&backlog);
            outbox.set_unsent(BATCH, &backlog);
            assert_eq!((backlog.bytes(), ending().as_deref()), (0, Some("Overflow")));
        }
        // If even that is too much, it is dropped with the socket, and counts no more.
        outbox.shut(&backlog);
        outbox.set_unsent(BATCH, &backlog);
        assert!(backlog.is_over());
        for _ in 0..2 {
            outbox.shed(&backlog);
            outbox.set_unsent(BATCH + 1, &backlog);
            assert_eq!((backlog.bytes(), ending().as_deref()), (0, Some("Shed")));
        }
        outbox.end(Ending::Abandon);
        outbox.set_unsent(BATCH + 1, &backlog);
        outbox.shed(&backlog);
        assert_eq!(ending().as_deref(), Some("Abandon"));
    }

    #[test]
    fn what_the_socket_does_not_take_counts_until_the_socket_is_gone() {
        let (backlog, outbox) = (Backlog::new(0), Outbox::default());
        let limits = OutboxLimits { max_pushes: 100, max_size: usize::MAX };
        outbox.end(Ending::Drain);
        outbox.push(KeyedFrame::own(vec![0; REPORT_STEP], None), limits, &backlog).unwrap();
        outbox.set_unsent(REPORT_STEP, &backlog);
        outbox.shut(&backlog);
        assert_eq!(outbox.queued(), Queued { pushes: 0, bytes: 0, unsent: REPORT_STEP });
        outbox.set_unsent(2 * REPORT_STEP, &backlog);
        assert_eq!(backlog.bytes(), 2 * REPORT_STEP);
        outbox.detach(&backlog);
        assert_eq!((backlog.bytes(), outbox.queued()), (0, Queued::default()));

        let outbox = Outbox::default();
        outbox.end(Ending::Close(DisconnectReason::Server(Close::from(CloseCode::KICKED))));
        outbox.set_unsent(REPORT_STEP, &backlog);
        outbox.shut(&backlog);
        outbox.shed(&backlog);
        assert!(matches!(outbox.state.lock().ending(), Some(Ending::Shed)));
    }

    /// Unparks a thread instead of waking a task.
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
        let limits = OutboxLimits { max_pushes: usize::MAX, max_size: usize::MAX };
        let taken = [const { AtomicU32::new(0) }; PUSHERS as usize];
        let push = |pusher: u8| {
            let mut number = 0_u32;
            for round in 0..ROUNDS {
                for _ in 0..=round % 3 {
                    let frame = [&[pusher][..], &number.to_be_bytes()].concat();
                    outbox.push(KeyedFrame::own(frame, None), limits, &backlog).unwrap();
                    number += 1;
                }
                // Wait until this round is taken, so that a later wake cannot hide a lost one.
                let pushed = Instant::now();
                while taken.iter().any(|taken| taken.load(Ordering::Relaxed) < number) {
                    assert!(pushed.elapsed() < WAKE_TIMEOUT, "a wake or a push was lost");
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
                    assert_eq!(frame[1..], next.to_be_bytes(), "from pusher {}", frame[0]);
                }
                out.clear();
                if ending.is_some() {
                    return;
                }
                if !outbox.has_pushes() {
                    let parked = Instant::now();
                    thread::park_timeout(WAKE_TIMEOUT);
                    assert!(parked.elapsed() < WAKE_TIMEOUT, "a wake was lost");
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
            // Give the other thread time to find nothing and park.
            (0..1000).for_each(|_| thread::yield_now());
            outbox.end(Ending::Drain);
        });
        assert_eq!(taken.map(AtomicU32::into_inner), [2 * ROUNDS; PUSHERS as usize]);
        assert_eq!((backlog.bytes(), outbox.queued()), (0, Queued::default()));
    }
}
