//! The gate through which sends of this node pass, if it hands sessions over.

use std::time::Duration;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// How long who passes lets one go first who waits to close the gate.
const PATIENCE: Duration = Duration::from_millis(5);

/// What is sent passes this gate: from the first connection of this node that gets it until it is queued for the bus. So
/// whoever closes the gate finds every send either delivered here and queued for the bus, or neither of the two. What the
/// bus brings passes it too, while it is delivered here.
///
/// The gate is locked before anything else. A node that hands nothing over has none.
#[derive(Debug)]
pub(crate) struct SendGate(Option<RwLock<()>>);

impl SendGate {
    pub(crate) fn new(hands_over: bool) -> Self {
        Self(hands_over.then(RwLock::default))
    }

    /// Keeps the gate open while the guard exists. Who passes may run the user's code, which may send, or wait for a thread
    /// that sends. So nobody waits until the gate was closed, but for a while: otherwise those who pass without a pause
    /// would keep it open.
    #[inline]
    pub(crate) fn pass(&self) -> Option<RwLockReadGuard<'_, ()>> {
        self.0.as_ref().map(pass_politely)
    }

    /// Waits until nothing passes, and keeps the gate closed while the guard exists.
    pub(crate) fn close(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        self.0.as_ref().map(RwLock::write)
    }
}

fn pass_politely(gate: &RwLock<()>) -> RwLockReadGuard<'_, ()> {
    gate.try_read_for(PATIENCE).unwrap_or_else(|| gate.read_recursive())
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
        while gate.0.as_ref().is_some_and(|gate| gate.try_read().is_some()) {
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
