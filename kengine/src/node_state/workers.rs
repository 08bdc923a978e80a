//! The threads that connections run on, and how one of them wakes tasks of another.
//!
//! Each thread has a runtime of its own, so a wake from another thread costs a system call. When a thread wakes many
//! tasks of another one, it hands their wakers over together, and the other thread wakes them.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::OnceLock;
use std::task::{Poll, Waker};
use std::{cell::Cell, mem};

use crate::node_state::sync::Mutex;
use crate::node_state::sync::atomic::{AtomicU16, Ordering};

/// The largest capacity with which a list of wakers is kept.
pub(super) const MAX_KEPT: usize = 1024;

/// The inboxes of all workers, in the order of their ids. A process has one set of workers.
static INBOXES: OnceLock<Box<[WakerInbox]>> = OnceLock::new();

thread_local! {
    static CURRENT: Cell<WorkerId> = const { Cell::new(WorkerId::NONE) };
}

/// A thread that connections run on. [`NONE`](Self::NONE) stands for any other thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerId(u16);

impl WorkerId {
    pub(crate) const NONE: Self = Self(0);

    /// Returns the id of the worker with this index.
    pub(super) fn new(index: usize) -> Option<Self> {
        index.checked_add(1).and_then(|id| u16::try_from(id).ok()).map(Self)
    }

    /// Returns the index of the worker, unless this is [`NONE`](Self::NONE).
    pub(crate) fn index(self) -> Option<usize> {
        usize::from(self.0).checked_sub(1)
    }

    /// Returns the worker that this thread is.
    #[inline]
    pub(crate) fn current() -> Self {
        CURRENT.with(Cell::get)
    }
}

/// The worker that a task runs on, as other tasks see it.
#[derive(Debug, Default)]
pub(crate) struct TaskWorker(AtomicU16);

impl TaskWorker {
    /// Records that the task runs on this thread.
    #[inline]
    pub(crate) fn set_current(&self) {
        // Read only by who holds the lock that this one holds.
        self.0.store(WorkerId::current().0, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> WorkerId {
        WorkerId(self.0.load(Ordering::Relaxed))
    }
}

/// The wakers of tasks of one worker that other threads have woken.
#[derive(Default)]
pub(crate) struct WakerInbox {
    state: Mutex<InboxState>,
}

#[derive(Default)]
struct InboxState {
    wakers: Vec<Waker>,
    /// The task that empties the inbox, while it sleeps.
    emptying: Option<Waker>,
}

impl WakerInbox {
    /// Hands these wakers over, and wakes the task that empties the inbox if it sleeps.
    pub(crate) fn add(&self, wakers: &mut Vec<Waker>) {
        let mut state = self.state.lock();
        state.wakers.append(wakers);
        let emptying = state.emptying.take();
        drop(state);
        if let Some(emptying) = emptying {
            emptying.wake();
        }
    }

    /// Wakes every task whose waker is handed over. This runs on the worker, where a wake is cheap.
    pub(crate) async fn keep_emptying(&self) -> Infallible {
        let mut wakers = Vec::new();
        loop {
            poll_fn(|cx| {
                let mut state = self.state.lock();
                if state.wakers.is_empty() {
                    state.emptying = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                mem::swap(&mut wakers, &mut state.wakers);
                Poll::Ready(())
            })
            .await;
            wakers.drain(..).for_each(Waker::wake);
            if wakers.capacity() > MAX_KEPT {
                wakers = Vec::new();
            }
            // The tasks run before more are woken.
            tokio::task::yield_now().await;
        }
    }
}

/// Creates the inboxes of this number of workers, or fewer if an id does not count that far. Only the first call in a
/// process creates them; all return them.
pub(crate) fn create(count: usize) -> &'static [WakerInbox] {
    let count = count.min(usize::from(u16::MAX));
    INBOXES.get_or_init(|| (0..count).map(|_| WakerInbox::default()).collect())
}

/// Makes this thread the worker with this index for as long as it runs.
pub(crate) fn become_worker(index: usize) {
    CURRENT.set(WorkerId::new(index).unwrap_or(WorkerId::NONE));
}

/// Returns the inbox of the worker with this index.
pub(super) fn inbox(index: usize) -> Option<&'static WakerInbox> {
    INBOXES.get()?.get(index)
}
