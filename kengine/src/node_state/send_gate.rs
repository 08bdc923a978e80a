//! The gate through which sends of this node pass, if it hands sessions over.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// How long a thread that wants to close the gate is let go first, in nanoseconds.
const PRECEDENCE: u64 = 5_000_000;

/// What is sent passes this gate: from the first connection of this node that gets it until it is queued for the bus.
/// So a thread that has closed the gate finds every send either delivered here and queued for the bus, or neither of
/// the two. What the bus brings passes it too, while it is delivered here.
///
/// The gate is locked before anything else. A node that hands nothing over has none.
#[derive(Debug)]
pub(crate) struct SendGate(Option<Gate>);

#[derive(Debug)]
struct Gate {
    lock: RwLock<()>,
    created: Instant,
    /// Until when the last thread that wants to close the gate is let go first, in nanoseconds after `created`.
    gives_way_until: AtomicU64,
}

impl SendGate {
    pub(crate) fn new(hands_over: bool) -> Self {
        let gate = || Gate { lock: RwLock::default(), created: Instant::now(), gives_way_until: AtomicU64::new(0) };
        Self(hands_over.then(gate))
    }

    /// Keeps the gate open while the guard exists. A thread may pass again while it keeps the gate open.
    #[inline]
    pub(crate) fn pass(&self) -> Option<RwLockReadGuard<'_, ()>> {
        self.0.as_ref().map(Gate::pass)
    }

    /// Waits until nothing passes, and keeps the gate closed while the guard exists.
    pub(crate) fn close(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        self.0.as_ref().map(Gate::close)
    }
}

impl Gate {
    /// Lets a thread go first that wants to close the gate, but only for a while. Without that, threads that pass one
    /// after another would keep the gate open for ever. Without the limit, a thread that keeps it open would wait for
    /// itself when it passes again: it may run code of the user, which may send, or wait for a thread that sends.
    fn pass(&self) -> RwLockReadGuard<'_, ()> {
        if let Some(guard) = self.lock.try_read() {
            return guard;
        }
        let left = self.gives_way_until.load(Ordering::Relaxed).saturating_sub(self.now());
        self.lock.try_read_for(Duration::from_nanos(left)).unwrap_or_else(|| self.lock.read_recursive())
    }

    fn close(&self) -> RwLockWriteGuard<'_, ()> {
        self.gives_way_until.store(self.now() + PRECEDENCE, Ordering::Relaxed);
        self.lock.write()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.created.elapsed().as_nanos()).unwrap_or(u64::MAX - PRECEDENCE)
    }
}

#[cfg(all(test, not(kengine_model)))]
mod tests {
    use std::hint::spin_loop;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::channel;
    use std::thread::{self, yield_now};
    use std::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// Waits until somebody waits to close the gate, although this thread keeps it open.
    fn somebody_waits(gate: &SendGate) {
        while gate.0.as_ref().is_some_and(|gate| gate.lock.try_read().is_some()) {
            yield_now();
        }
    }

    #[test]
    fn a_thread_that_keeps_the_gate_open_passes_again_and_so_do_those_that_it_waits_for() {
        let gate = SendGate::new(true);
        let (done, is_done) = channel();
        thread::scope(|scope| {
            let open = gate.pass();
            scope.spawn(|| {
                drop(gate.close());
                done.send("closed").unwrap();
            });
            somebody_waits(&gate);
            drop(gate.pass());
            scope.spawn(|| {
                drop(gate.pass());
                done.send("passed").unwrap();
            });
            assert_eq!(is_done.recv_timeout(LIMIT), Ok("passed"));
            drop(open);
            assert_eq!(is_done.recv_timeout(LIMIT), Ok("closed"));
        });
    }

    #[test]
    fn those_who_pass_without_a_pause_do_not_keep_the_gate_open() {
        let (gate, is_over) = (SendGate::new(true), AtomicBool::new(false));
        let (closed, is_closed) = channel();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        let _open = gate.pass();
                        let passed = Instant::now();
                        while passed.elapsed() < Duration::from_micros(100) {
                            spin_loop();
                        }
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..100 {
                    drop(gate.close());
                }
                closed.send(()).unwrap();
            });
            let in_time = is_closed.recv_timeout(LIMIT);
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(in_time, Ok(()));
        });
    }
}
