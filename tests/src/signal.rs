//! Signals to processes that tests have started.

use rustix::process::{Pid, Signal, kill_process};

/// Sends a signal to a process that the test has started and not waited for yet.
pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, signal).expect("it runs");
}
