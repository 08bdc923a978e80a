use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use loom::future::block_on;
use loom::thread;

use crate::node_state::refusals::{Limit, Refusals};
use crate::node_state::sync::model::explore;

/// Every refusal is counted. If no line has counted one, a line is due, and the task that writes it is woken.
#[test]
fn every_refusal_is_counted_and_reported() {
    explore("refusals", || {
        let refusals = Arc::<Refusals>::default();
        let clients = [(), ()].map(|()| {
            let refusals = Arc::clone(&refusals);
            thread::spawn(move || refusals.record(Limit::Rooms, &"a client"))
        });
        // The first refusal has a line, and the second one waits for the next line.
        let mut reporting = pin!(refusals.keep_reporting());
        block_on(poll_fn(|cx| {
            assert!(reporting.as_mut().poll(cx).is_pending());
            if refusals.report_at().is_some() { Poll::Ready(()) } else { Poll::Pending }
        }));
        clients.into_iter().for_each(|client| _ = client.join().unwrap());
        assert_eq!(refusals.totals().map(|(_, total)| total).sum::<u64>(), 2);
    });
}

/// A refusal during a report is in that report's line, or a later line is due.
#[test]
fn no_refusal_is_missed_by_a_report() {
    explore("refusals: report", || {
        let refusals = Arc::<Refusals>::default();
        refusals.record(Limit::Rooms, &"a client");
        let clients = [(), ()].map(|()| {
            let refusals = Arc::clone(&refusals);
            thread::spawn(move || refusals.record(Limit::Rooms, &"a client"))
        });
        refusals.report();
        clients.into_iter().for_each(|client| _ = client.join().unwrap());
        assert!(refusals.report_at().is_some());
    });
}
