//! Conformance to RFC 6455, judged by programs of others: Autobahn's test suite, browsers, and other libraries.

mod autobahn;
mod behaviours;
#[path = "../../../examples/chat/browser.rs"]
mod browser;
mod clients;
mod drivers;
mod refusals;

use std::{
    io,
    process::{Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{process::Command, time::timeout};

/// Runs a command without input. Kills what it has started and left running if it fails, and if it takes longer than
/// this, in which case it returns `None`.
async fn output_within(limit: Duration, command: &mut Command) -> io::Result<Option<Output>> {
    let child = command.stdin(Stdio::null()).process_group(0).spawn()?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).expect("a process");
    let ended = timeout(limit, child.wait_with_output()).await;
    let has_succeeded = matches!(&ended, Ok(Ok(output)) if output.status.success());
    if !has_succeeded {
        // Usually nothing of the group is left.
        let _ = kill_process_group(group, Signal::KILL);
    }
    ended.ok().transpose()
}
