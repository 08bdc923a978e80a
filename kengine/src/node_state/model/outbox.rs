use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use loom::future::block_on;
use loom::thread;

use crate::node_state::errors::SendError;
use crate::node_state::limits::OutboxLimits;
use crate::node_state::outbox::{Backlog, Ending, Outbox, Queued, REPORT_STEP};
use crate::node_state::sync::model::explore;
use crate::protocol::DisconnectReason;
use crate::protocol::resumption::KeyedFrame;
use crate::websocket::{Close, CloseCode};

const LIMITS: OutboxLimits = OutboxLimits { max_pushes: 8, max_size: usize::MAX };

/// An outbox, and the backlog of its node.
#[derive(Clone)]
struct Counted(Arc<(Outbox, Backlog)>);

impl Counted {
    fn new() -> Self {
        Self(Arc::new((Outbox::default(), Backlog::new(0))))
    }

    fn outbox(&self) -> &Outbox {
        &self.0.0
    }

    fn backlog(&self) -> &Backlog {
        &self.0.1
    }

    /// Queues a frame that begins with this byte, and counts for one step of the backlog.
    fn push(&self, first: u8) -> Result<(), SendError> {
        self.outbox().push(frame(first), LIMITS, self.backlog())
    }

    /// Takes pushes, as the connection's task does, until there are `wanted` or the connection is ordered to end.
    /// Returns the first byte of each.
    fn serve(&self, wanted: usize) -> (Vec<u8>, Option<Ending>) {
        let mut out = Vec::new();
        let ending = block_on(poll_fn(|cx| match self.outbox().take(cx, &mut out, self.backlog(), |_| true) {
            None if out.len() < wanted * REPORT_STEP => Poll::Pending,
            ending => Poll::Ready(ending),
        }));
        (out.chunks_exact(REPORT_STEP).map(|frame| frame[0]).collect(), ending)
    }

    fn check_backlog(&self) {
        let Queued { bytes, unsent, .. } = self.outbox().queued();
        assert_eq!(self.backlog().bytes(), bytes + unsent);
    }
}

fn frame(first: u8) -> KeyedFrame {
    KeyedFrame::own(vec![first; REPORT_STEP], None)
}

fn close(code: CloseCode) -> Ending {
    Ending::Close(DisconnectReason::Server(Close::from(code)))
}

/// Every push arrives once, those of one sender in their order, and the task sleeps only while nothing waits.
#[test]
fn no_push_and_no_wake_is_lost() {
    explore("outbox: pushes", || {
        let outbox = Counted::new();
        let senders = [10, 20].map(|sender| {
            let outbox = outbox.clone();
            thread::spawn(move || (sender..sender + 2).for_each(|number| outbox.push(number).unwrap()))
        });
        // The task sleeps for ever if it is not woken, which loom reports.
        let (mut taken, ending) = outbox.serve(4);
        assert!(ending.is_none());
        senders.into_iter().for_each(|sender| _ = sender.join().unwrap());
        taken.sort_by_key(|number| number / 10);
        assert_eq!(taken, [10, 11, 20, 21]);
        assert_eq!((outbox.backlog().bytes(), outbox.outbox().has_pushes()), (0, false));
    });
}

/// Until the order to close, every push is sent, and after it none is queued. So a sender knows which pushes were sent.
#[test]
fn a_close_sends_what_was_queued_before_it() {
    explore("outbox: close", || {
        let outbox = Counted::new();
        let senders = [10, 20].map(|sender| {
            let outbox = outbox.clone();
            let push = move |number: &u8| outbox.push(*number).is_ok();
            thread::spawn(move || (sender..sender + 2).filter(push).collect::<Vec<_>>())
        });
        let closing = thread::spawn({
            let outbox = outbox.clone();
            move || assert!(outbox.outbox().end(close(CloseCode::KICKED)))
        });
        let (mut taken, ending) = outbox.serve(usize::MAX / REPORT_STEP);
        assert!(matches!(ending, Some(Ending::Close(_))));
        outbox.outbox().shut(outbox.backlog());
        let queued = senders.map(|sender| sender.join().unwrap()).concat();
        closing.join().unwrap();
        taken.sort_by_key(|number| number / 10);
        assert_eq!(taken, queued);
        assert_eq!((outbox.backlog().bytes(), outbox.outbox().queued()), (0, Queued::default()));
    });
}

/// The task reads the flags without the lock. A flag that is set means that the lock shows what it stands for, and what
/// has happened before is seen in the flags.
#[test]
fn the_flags_are_never_ahead_of_the_outbox() {
    explore("outbox: flags", || {
        let outbox = Counted::new();
        let sender = thread::spawn({
            let outbox = outbox.clone();
            move || {
                outbox.push(1).unwrap();
                outbox.outbox().end(Ending::Drain);
            }
        });
        let is_ending = outbox.outbox().is_ending();
        let has_pushes = outbox.outbox().has_pushes();
        assert!(has_pushes || !is_ending, "the push was before the order");
        let mut out = Vec::new();
        outbox.outbox().take_pushes(&mut out, outbox.backlog());
        assert!(!has_pushes || out.len() == REPORT_STEP);
        assert!(!is_ending || outbox.serve(0).1.is_some());
        sender.join().unwrap();
        outbox.outbox().take_pushes(&mut out, outbox.backlog());
        assert_eq!((out.len(), outbox.outbox().is_ending()), (REPORT_STEP, true));
    });
}

/// Of several orders, the one stands that overrides the others, or of equal ones the first.
#[test]
fn the_first_ending_stands_unless_another_overrides_it() {
    explore("outbox: endings", || {
        let outbox = Counted::new();
        let end = |ending: Ending| {
            let outbox = outbox.clone();
            thread::spawn(move || outbox.outbox().end(ending))
        };
        let drain = end(Ending::Drain);
        let closes = [CloseCode::KICKED, CloseCode::REPLACED].map(|code| (code, end(close(code))));
        let (_, seen) = outbox.serve(usize::MAX / REPORT_STEP);
        drain.join().unwrap();
        let [kicked, replaced] = closes.map(|(code, stands)| stands.join().unwrap().then_some(code));
        assert!(kicked.is_some() != replaced.is_some(), "one of two equal orders stands");
        // What was seen is returned again only to another task.
        outbox.outbox().forget_waker();
        let Some(Ending::Close(stands)) = outbox.serve(0).1 else { panic!("a drain has replaced a close") };
        assert_eq!(stands.code(), kicked.or(replaced));
        if let Some(Ending::Close(seen)) = seen {
            assert_eq!(seen.code(), stands.code(), "the order has changed");
        }
    });
}

/// `Shed` stands before a close and `Abandon` before everything, also after the connection has ended.
#[test]
fn a_cut_off_stands() {
    explore("outbox: cut off", || {
        let outbox = Counted::new();
        let closing = thread::spawn({
            let outbox = outbox.clone();
            move || outbox.outbox().end(close(CloseCode::KICKED))
        });
        let shedding = thread::spawn({
            let outbox = outbox.clone();
            move || outbox.outbox().shed(outbox.backlog())
        });
        let abandoning = thread::spawn({
            let outbox = outbox.clone();
            move || assert!(outbox.outbox().end(Ending::Abandon))
        });
        outbox.outbox().set_unsent(REPORT_STEP, outbox.backlog());
        outbox.outbox().shut(outbox.backlog());
        // A closed connection may linger, and can still be cut off.
        block_on(poll_fn(|cx| match outbox.outbox().take(cx, &mut Vec::new(), outbox.backlog(), |_| false) {
            Some(Ending::Abandon) => Poll::Ready(()),
            _ => Poll::Pending,
        }));
        let has_shed = shedding.join().unwrap();
        assert!(!(closing.join().unwrap() && has_shed), "two calls have ended the connection");
        abandoning.join().unwrap();
        outbox.check_backlog();
        outbox.outbox().detach(outbox.backlog());
        assert_eq!((outbox.backlog().bytes(), outbox.outbox().queued()), (0, Queued::default()));
    });
}

/// Once an outbox is shut, nothing is queued; once it is detached, nothing is counted.
#[test]
fn nothing_is_queued_after_the_end() {
    explore("outbox: end", || {
        let outbox = Counted::new();
        let sender = thread::spawn({
            let outbox = outbox.clone();
            move || (0..2).filter(|number| outbox.push(*number).is_ok()).count()
        });
        let shedding = thread::spawn({
            let outbox = outbox.clone();
            move || outbox.outbox().shed(outbox.backlog())
        });
        outbox.outbox().set_unsent(REPORT_STEP, outbox.backlog());
        outbox.check_order_of_end();
        sender.join().unwrap();
        shedding.join().unwrap();
        assert_eq!((outbox.backlog().bytes(), outbox.outbox().queued()), (0, Queued::default()));
        assert!(matches!(outbox.push(3), Err(SendError::Closed)));
        assert!(!outbox.outbox().has_pushes());
    });
}

impl Counted {
    /// Ends the connection as its task does: it shuts the outbox, lingers, and is gone.
    fn check_order_of_end(&self) {
        self.outbox().shut(self.backlog());
        assert_eq!(self.outbox().queued().pushes, 0);
        self.outbox().set_unsent(2 * REPORT_STEP, self.backlog());
        assert!(!self.outbox().has_pushes());
        self.outbox().detach(self.backlog());
        assert_eq!(self.outbox().queued(), Queued::default());
    }
}

/// The backlog is the sum of what waits in all outboxes.
#[test]
fn the_backlog_is_the_sum_of_the_outboxes() {
    explore("outbox: backlog", || {
        let backlog = Arc::new(Backlog::new(0));
        let outboxes: Arc<[Outbox; 2]> = Arc::default();
        let sender = |order: [usize; 2]| {
            let (outboxes, backlog) = (Arc::clone(&outboxes), Arc::clone(&backlog));
            thread::spawn(move || {
                for number in order {
                    outboxes[number].push(frame(0), LIMITS, &backlog).unwrap();
                }
            })
        };
        let senders = [sender([0, 1]), sender([1, 0])];
        outboxes[0].take_pushes(&mut Vec::new(), &backlog);
        outboxes[1].set_unsent(REPORT_STEP, &backlog);
        senders.into_iter().for_each(|sender| _ = sender.join().unwrap());
        let waiting = outboxes.each_ref().map(|outbox| outbox.queued().bytes + outbox.queued().unsent);
        assert_eq!(backlog.bytes(), waiting.iter().sum::<usize>());
        assert!(backlog.is_over());
        outboxes.iter().for_each(|outbox| outbox.detach(&backlog));
        assert_eq!(backlog.bytes(), 0);
    });
}
