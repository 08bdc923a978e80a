//! Wakes that are deferred until the task that causes them yields.
//!
//! A handler that sends to a room four times should cause one write to each member, not four. So the members' tasks are
//! woken when the handler's task yields, and find all four pushes in their outboxes.

use std::{cell::RefCell, future::poll_fn, mem, pin::Pin, task::Waker};

use crate::node_state::sync::thread_local;

/// The largest capacity with which the list of wakes is kept for the next turn.
const MAX_KEPT: usize = 1024;

thread_local! {
    /// The wakes that the turns on this thread have deferred.
    static DEFERRED: RefCell<Deferred> = const { RefCell::new(Deferred { own: None, others: Vec::new() }) };
}

struct Deferred {
    /// The task of the innermost [`Turn`]; `None` outside of a turn. It needs no wake, because it checks its own outbox
    /// before it sleeps.
    own: Option<TaskId>,
    others: Vec<Waker>,
}

/// Identifies the task that a waker wakes: the addresses of the waker's data and functions. Unlike a clone of the waker,
/// it costs nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
struct TaskId(usize, usize);

impl TaskId {
    fn of(waker: &Waker) -> Self {
        Self(waker.data().addr(), std::ptr::from_ref(waker.vtable()).addr())
    }
}

/// Wakes a task: at once, or when the deferring task on this thread yields.
pub(crate) fn wake(waker: Waker) {
    let waker = DEFERRED.with_borrow_mut(|deferred| match deferred.own {
        Some(own) if TaskId::of(&waker) == own => None,
        Some(_) => {
            deferred.others.push(waker);
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
        let mut others = DEFERRED.with_borrow_mut(|deferred| mem::take(&mut deferred.others));
        // A nested turn may have deferred a wake of this turn's task.
        others.drain(..).filter(|waker| TaskId::of(waker) != self.own).for_each(Waker::wake);
        if others.capacity() <= MAX_KEPT {
            DEFERRED.with_borrow_mut(|deferred| {
                if deferred.others.capacity() == 0 {
                    deferred.others = others;
                }
            });
        }
    }
}

impl Drop for Turn {
    #[inline]
    fn drop(&mut self) {
        let has_others = DEFERRED.with_borrow_mut(|deferred| {
            deferred.own = self.outer;
            !deferred.others.is_empty()
        });
        if has_others && self.outer.is_none() {
            self.wake_others();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

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
            wake(own_waker.clone());
            // A nested turn wakes no task early.
            defer_while(Waker::noop(), || {
                wake(own_waker.clone());
                wake(Waker::from(Arc::clone(&other)));
            });
            assert_eq!(count(&other), 0);
        });
        assert_eq!((count(&own), count(&other)), (0, 1));
        defer_while(Waker::noop(), || defer_while(&own_waker, || wake(own_waker.clone())));
        assert_eq!(count(&own), 0, "the task of a nested turn needs no wake either");
        wake(own_waker);
        assert_eq!(count(&own), 1, "a wake outside of a turn happens at once");
    }
}
