//! Wakes that are deferred until the task that causes them yields.
//!
//! A handler that sends to a room four times should cause one write to each member, not four. So the members' tasks are
//! woken when the handler's task yields, and find all four pushes in their outboxes.

use std::{cell::RefCell, future::poll_fn, mem, pin::Pin, task::Waker};

use crate::node_state::sync::thread_local;

thread_local! {
    /// The wakes that were deferred on this thread; `None` outside of a [`Turn`].
    static DEFERRED: RefCell<Option<Deferred>> = const { RefCell::new(None) };
}

struct Deferred {
    /// The waker of the task itself, which needs no wake because it checks its own outbox before it sleeps.
    own: Waker,
    others: Vec<Waker>,
}

/// Wakes a task: at once, or when the deferring task on this thread yields.
pub(crate) fn wake(waker: Waker) {
    let waker = DEFERRED.with_borrow_mut(|deferred| match deferred {
        Some(deferred) if waker.will_wake(&deferred.own) => None,
        Some(deferred) => {
            deferred.others.push(waker);
            None
        }
        None => Some(waker),
    });
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Runs a part of a connection's task and defers the wakes that it causes. The caller boxes the part, so that it takes
/// only a pointer in the task.
pub(crate) fn deferring<F: Future + Unpin>(mut part: F) -> impl Future<Output = F::Output> {
    poll_fn(move |cx| {
        let own = cx.waker().clone();
        defer_while(&own, || Pin::new(&mut part).poll(cx))
    })
}

/// Defers the wakes of other tasks while `run` runs, and drops the wakes of `own`.
pub(crate) fn defer_while<T>(own: &Waker, run: impl FnOnce() -> T) -> T {
    let _turn = Turn::begin(own.clone());
    run()
}

/// A call during which wakes are deferred: one poll of a task, or a batch. The wakes happen when it ends, even by a
/// panic.
struct Turn {
    /// The wakes that a surrounding turn has deferred.
    outer: Option<Deferred>,
}

impl Turn {
    fn begin(own: Waker) -> Self {
        let deferred = Deferred { own, others: Vec::new() };
        Self { outer: DEFERRED.replace(Some(deferred)) }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let deferred = DEFERRED.replace(mem::take(&mut self.outer));
        for waker in deferred.into_iter().flat_map(|deferred| deferred.others) {
            // Defers the wake again if there is a surrounding turn.
            wake(waker);
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
        wake(own_waker);
        assert_eq!(count(&own), 1, "a wake outside of a turn happens at once");
    }
}
