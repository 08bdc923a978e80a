use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

use loom::future::block_on;
use loom::thread;

use crate::node_state::model::deferred_wakes::WakeCount;
use crate::node_state::sync::atomic::Ordering;
use crate::node_state::sync::model::explore;
use crate::node_state::workers::WakerInbox;

/// Two threads hand wakers over while the worker empties the inbox and sleeps: each task is woken once, and no wake is
/// lost.
#[test]
fn each_waker_that_is_handed_over_is_used_once() {
    explore("waker inbox: once", || {
        let inbox = Arc::<WakerInbox>::default();
        let woken = [(), (), ()].map(|()| Arc::<WakeCount>::default());
        let wakers = woken.each_ref().map(|woken| Waker::from(Arc::clone(woken)));
        let [first, second, third] = wakers;
        let adding = [vec![first, second], vec![third]].map(|mut wakers| {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || inbox.add(&mut wakers))
        });
        let mut emptying = pin!(inbox.empty());
        block_on(poll_fn(|cx| {
            let _ = emptying.as_mut().poll(cx);
            let count: usize = woken.iter().map(|woken| woken.0.load(Ordering::Relaxed)).sum();
            if count == 3 { Poll::Ready(()) } else { Poll::Pending }
        }));
        adding.into_iter().for_each(|adding| adding.join().unwrap());
        assert!(woken.iter().all(|woken| woken.0.load(Ordering::Relaxed) == 1));
    });
}
