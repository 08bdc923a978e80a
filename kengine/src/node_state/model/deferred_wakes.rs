use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::future::block_on;
use loom::thread;

use crate::node_state::deferred_wakes::defer_while;
use crate::node_state::limits::OutboxLimits;
use crate::node_state::outbox::{Backlog, Outbox};
use crate::node_state::sync::atomic::{AtomicUsize, Ordering};
use crate::node_state::sync::model::explore;
use crate::protocol::resumption::KeyedFrame;

const LIMITS: OutboxLimits = OutboxLimits { max_pushes: 8, max_size: 8 };

#[derive(Default)]
pub(super) struct WakeCount(pub(super) AtomicUsize);

impl Wake for WakeCount {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn push(outbox: &Outbox, backlog: &Backlog) {
    outbox.push(KeyedFrame::own(vec![1], None), LIMITS, backlog).unwrap();
}

/// Two turns send to one sleeping connection several times: it is woken once, when the turn ends that has seen it
/// asleep.
#[test]
fn a_sleeping_task_is_woken_once() {
    explore("deferred wakes: once", || {
        let woken = Arc::<WakeCount>::default();
        let waker = Waker::from(Arc::clone(&woken));
        let outbox = Arc::new((Outbox::default(), Backlog::new(usize::MAX)));
        let out = &mut Vec::new();
        assert!(outbox.0.take(&mut Context::from_waker(&waker), out, &outbox.1, |_| true).is_none());
        let sending = [(), ()].map(|()| {
            let outbox = Arc::clone(&outbox);
            thread::spawn(move || {
                defer_while(Waker::noop(), || {
                    push(&outbox.0, &outbox.1);
                    defer_while(Waker::noop(), || push(&outbox.0, &outbox.1));
                });
            })
        });
        sending.into_iter().for_each(|sending| _ = sending.join().unwrap());
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(outbox.0.queued().pushes, 4);
    });
}

/// A connection's task that sleeps between the pushes of several turns gets all of them, even if a turn ends by a
/// panic.
#[test]
fn no_deferred_wake_is_lost() {
    explore("deferred wakes: none lost", || {
        let outbox = Arc::new((Outbox::default(), Backlog::new(usize::MAX)));
        let panicking = thread::spawn({
            let outbox = Arc::clone(&outbox);
            move || {
                let turn = || {
                    defer_while(Waker::noop(), || {
                        push(&outbox.0, &outbox.1);
                        resume_unwind(Box::new("a handler has panicked"));
                    })
                };
                assert!(catch_unwind(AssertUnwindSafe(turn)).is_err());
            }
        });
        let sending = thread::spawn({
            let outbox = Arc::clone(&outbox);
            move || {
                defer_while(Waker::noop(), || push(&outbox.0, &outbox.1));
                push(&outbox.0, &outbox.1);
            }
        });
        let mut out = Vec::new();
        block_on(poll_fn(|cx| {
            outbox.0.take(cx, &mut out, &outbox.1, |_| true);
            if out.len() == 3 { Poll::Ready(()) } else { Poll::Pending }
        }));
        panicking.join().unwrap();
        sending.join().unwrap();
    });
}
