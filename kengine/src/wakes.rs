//! Wakes put off until the task that causes them gives way.
//!
//! One handler that sends to a room four times shall cause one write to each member, not four: the members' tasks are
//! woken when the handler's task has done all it can, and find all four in their outboxes.

use std::{cell::RefCell, future::poll_fn, mem, pin::Pin, task::Waker};

thread_local! {
    /// What the task that runs on this thread has put off; `None` outside of such a task.
    static PUT_OFF: RefCell<Option<PutOff>> = const { RefCell::new(None) };
}

struct PutOff {
    /// Of the task itself: it looks at its own outbox before it sleeps.
    own: Waker,
    others: Vec<Waker>,
}

/// Wakes a task, or has it woken when this thread's task gives way.
pub(crate) fn wake(waker: Waker) {
    let waker = PUT_OFF.with_borrow_mut(|put_off| match put_off {
        Some(put_off) if waker.will_wake(&put_off.own) => None,
        Some(put_off) => {
            put_off.others.push(waker);
            None
        }
        None => Some(waker),
    });
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Runs a part of a connection's task, whose wakes are put off while it runs. Boxed, as it has to be, it takes no more
/// of the task than a pointer.
pub(crate) fn put_off<F: Future + Unpin>(mut part: F) -> impl Future<Output = F::Output> {
    poll_fn(move |cx| {
        let own = cx.waker().clone();
        put_off_while(&own, || Pin::new(&mut part).poll(cx))
    })
}

/// Puts off the wakes of others while this runs, and never wakes `own`.
pub(crate) fn put_off_while<T>(own: &Waker, run: impl FnOnce() -> T) -> T {
    let _turn = Turn::begin(own.clone());
    run()
}

/// One poll of a task; wakes what was put off when it ends, by a panic too.
struct Turn {
    /// Of the task around this one, if there is one.
    outer: Option<PutOff>,
}

impl Turn {
    fn begin(own: Waker) -> Self {
        let put_off = PutOff { own, others: Vec::new() };
        Self { outer: PUT_OFF.replace(Some(put_off)) }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let put_off = PUT_OFF.replace(mem::take(&mut self.outer));
        for waker in put_off.into_iter().flat_map(|put_off| put_off.others) {
            // Put off once more, if this was a part of another turn.
            wake(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn others_are_woken_when_the_turn_ends_and_the_task_itself_is_not() {
        let (own, other) = (Arc::<Woken>::default(), Arc::<Woken>::default());
        let count = |woken: &Woken| woken.0.load(Ordering::Relaxed);
        let own_waker = Waker::from(Arc::clone(&own));
        put_off_while(&own_waker, || {
            wake(own_waker.clone());
            // A turn within a turn wakes nobody sooner.
            put_off_while(Waker::noop(), || {
                wake(own_waker.clone());
                wake(Waker::from(Arc::clone(&other)));
            });
            assert_eq!(count(&other), 0);
        });
        assert_eq!((count(&own), count(&other)), (0, 1));
        wake(own_waker);
        assert_eq!(count(&own), 1, "outside of a turn it is woken at once");
    }
}
