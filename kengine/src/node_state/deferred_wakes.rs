//! Wakes that are deferred until the task that causes them yields.
//!
//! A handler that sends to a room four times should cause one write to each member, not four. So the members' tasks are
//! woken when the handler's task yields, and find all four pushes in their outboxes. Those of another worker are then
//! woken together.

use std::{cell::RefCell, future::poll_fn, mem, pin::Pin, task::Waker};

use crate::node_state::sync::thread_local;
use crate::node_state::workers::{self, MAX_KEPT, WorkerId};

thread_local! {
    /// The wakes that the turns on this thread have deferred.
    static DEFERRED: RefCell<Deferred> = const { RefCell::new(Deferred { own: None, wakes: Wakes::NONE }) };
}

struct Deferred {
    /// The task of the innermost [`Turn`]; `None` outside of a turn. It needs no wake, because it checks its own outbox
    /// before it sleeps.
    own: Option<TaskId>,
    wakes: Wakes,
}

/// Tasks to be woken.
struct Wakes {
    /// Those of this thread, and those of no worker.
    here: Vec<Waker>,
    /// Those of other workers, by the worker's index.
    elsewhere: Vec<Vec<Waker>>,
    is_empty: bool,
}

/// Identifies the task that a waker wakes: the addresses of the waker's data and functions. Unlike a clone of the
/// waker, it costs nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
struct TaskId(usize, usize);

impl TaskId {
    fn of(waker: &Waker) -> Self {
        Self(waker.data().addr(), std::ptr::from_ref(waker.vtable()).addr())
    }
}

impl Wakes {
    const NONE: Self = Self { here: Vec::new(), elsewhere: Vec::new(), is_empty: true };

    fn push(&mut self, waker: Waker, worker: WorkerId) {
        self.is_empty = false;
        let Some(index) = worker.index().filter(|_| worker != WorkerId::current()) else {
            return self.here.push(waker);
        };
        if index >= self.elsewhere.len() {
            self.elsewhere.resize_with(index + 1, Vec::new);
        }
        self.elsewhere[index].push(waker);
    }

    /// Wakes all tasks but `own`.
    fn wake(&mut self, own: TaskId) {
        // A nested turn may have deferred a wake of this turn's task.
        self.here.drain(..).filter(|waker| TaskId::of(waker) != own).for_each(Waker::wake);
        for (index, wakers) in self.elsewhere.iter_mut().enumerate().filter(|(_, wakers)| !wakers.is_empty()) {
            match workers::inbox(index) {
                Some(inbox) => inbox.add(wakers),
                None => wakers.drain(..).for_each(Waker::wake),
            }
        }
        self.is_empty = true;
        for wakers in self.elsewhere.iter_mut().chain([&mut self.here]).filter(|wakers| wakers.capacity() > MAX_KEPT) {
            *wakers = Vec::new();
        }
    }
}

/// Wakes a task of this worker: at once, or when the deferring task on this thread yields.
pub(crate) fn wake(waker: Waker, worker: WorkerId) {
    let waker = DEFERRED.with_borrow_mut(|deferred| match deferred.own {
        Some(own) if TaskId::of(&waker) == own => None,
        Some(_) => {
            deferred.wakes.push(waker, worker);
            None
        }
        None => Some(waker),
    });
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Runs a part of a connection's task in this span, and defers the wakes that it causes.
// `Instrument` would move the part once more.
pub(crate) fn deferring<F: Future + Unpin>(span: tracing::Span, mut part: F) -> impl Future<Output = F::Output> {
    poll_fn(move |cx| {
        let _entered = span.enter();
        defer_while(cx.waker(), || Pin::new(&mut part).poll(cx))
    })
}

/// Defers the wakes of other tasks while `run` runs, and drops the wakes of `own`.
pub(crate) fn defer_while<T>(own: &Waker, run: impl FnOnce() -> T) -> T {
    let _turn = Turn::begin(own);
    run()
}

/// A call during which wakes are deferred: one poll of a task, or a batch. The wakes happen when it ends, even by a
/// panic; inside of another turn, when that one ends.
struct Turn {
    /// The task of the turn.
    own: TaskId,
    /// The task of the surrounding turn.
    outer: Option<TaskId>,
}

impl Turn {
    #[inline]
    fn begin(own: &Waker) -> Self {
        let own = TaskId::of(own);
        Self { own, outer: DEFERRED.with_borrow_mut(|deferred| deferred.own.replace(own)) }
    }

    #[cold]
    fn wake_others(&self) {
        let mut wakes = DEFERRED.with_borrow_mut(|deferred| mem::replace(&mut deferred.wakes, Wakes::NONE));
        wakes.wake(self.own);
        DEFERRED.with_borrow_mut(|deferred| {
            if deferred.wakes.is_empty {
                // Its lists are used again.
                deferred.wakes = wakes;
            }
        });
    }
}

impl Drop for Turn {
    #[inline]
    fn drop(&mut self) {
        let has_others = DEFERRED.with_borrow_mut(|deferred| {
            deferred.own = self.outer;
            !deferred.wakes.is_empty
        });
        if has_others && self.outer.is_none() {
            self.wake_others();
        }
    }
}

#[cfg(all(test, not(kengine_model)))]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Context;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn only_other_tasks_are_woken_when_a_turn_ends() {
        let (own, other) = (Arc::<Woken>::default(), Arc::<Woken>::default());
        let count = |woken: &Woken| woken.0.load(Ordering::Relaxed);
        let own_waker = Waker::from(Arc::clone(&own));
        defer_while(&own_waker, || {
            wake(own_waker.clone(), WorkerId::NONE);
            // A nested turn wakes no task early.
            defer_while(Waker::noop(), || {
                wake(own_waker.clone(), WorkerId::NONE);
                wake(Waker::from(Arc::clone(&other)), WorkerId::NONE);
            });
            assert_eq!(count(&other), 0);
        });
        assert_eq!((count(&own), count(&other)), (0, 1));
        defer_while(Waker::noop(), || defer_while(&own_waker, || wake(own_waker.clone(), WorkerId::NONE)));
        assert_eq!(count(&own), 0, "the task of a nested turn needs no wake either");
        wake(own_waker, WorkerId::NONE);
        assert_eq!(count(&own), 1, "a wake outside of a turn happens at once");
    }

    #[test]
    fn the_tasks_of_a_worker_are_woken_together() {
        let inbox = &workers::create(2)[0];
        let emptying = Arc::<Woken>::default();
        let emptying_waker = Waker::from(Arc::clone(&emptying));
        let mut cx = Context::from_waker(&emptying_waker);
        let mut empty = pin!(inbox.keep_emptying());
        assert!(empty.as_mut().poll(&mut cx).is_pending());

        let tasks = [(); 100].map(|()| Arc::<Woken>::default());
        let worker = WorkerId::new(0).unwrap();
        defer_while(Waker::noop(), || {
            for task in &tasks {
                wake(Waker::from(Arc::clone(task)), worker);
            }
        });
        let count = |woken: &Woken| woken.0.load(Ordering::Relaxed);
        assert_eq!(count(&emptying), 1);
        assert_eq!(tasks.iter().map(|task| count(task)).sum::<usize>(), 0, "only the worker wakes its tasks");
        let _ = empty.poll(&mut cx);
        assert!(tasks.iter().all(|task| count(task) == 1));

        // The worker itself needs no inbox.
        workers::become_worker(0);
        defer_while(Waker::noop(), || wake(Waker::from(Arc::clone(&tasks[0])), worker));
        assert_eq!(count(&tasks[0]), 2);
    }
}
