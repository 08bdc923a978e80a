//! A node of the cluster: a process of its own that can be killed, frozen, drained and started again.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use kengine_tests::{NodeReport, free_address, open_files, signal, within};
use rustix::process::Signal;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::sleep,
};

/// The lease of each node.
pub(crate) const LEASE: Duration = Duration::from_secs(2);
/// After this time of silence, nodes and gateways end a connection.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// One of the nodes. Its addresses stay the same when it is started again.
#[derive(Debug)]
pub(crate) struct Node {
    name: String,
    listens: SocketAddr,
    advertised: SocketAddr,
    redis: String,
    folder: PathBuf,
    /// How many times it was started.
    starts: usize,
    process: Option<Process>,
}

/// A running process. It is killed when this is dropped.
#[derive(Debug)]
struct Process {
    child: Child,
    input: ChildStdin,
    reports: Lines<BufReader<ChildStdout>>,
}

impl Node {
    /// Prepares a node whose gateways connect to `advertised`, and which reaches Redis at this URL.
    pub(crate) fn new(name: String, advertised: SocketAddr, redis: String, folder: &Path) -> Self {
        let folder = folder.to_owned();
        Self { name, listens: free_address(), advertised, redis, folder, starts: 0, process: None }
    }

    /// Returns the address at which it listens itself.
    pub(crate) fn listens(&self) -> SocketAddr {
        self.listens
    }

    /// Starts its process. Its log is in a new file.
    pub(crate) fn start(&mut self) {
        self.starts += 1;
        let log = File::create(self.log()).expect("a file of ours");
        let mut child = Command::new(env!("CARGO_BIN_EXE_chaos_node"))
            .args([self.listens.to_string(), self.advertised.to_string(), self.redis.clone()])
            .args([LEASE.as_millis().to_string(), IDLE_TIMEOUT.as_millis().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let input = child.stdin.take().expect("a pipe");
        let reports = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        self.process = Some(Process { child, input, reports });
    }

    /// Returns whether it has been started and not stopped since.
    pub(crate) fn is_here(&self) -> bool {
        self.process.is_some()
    }

    fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.{}.log", self.name, self.starts))
    }

    /// Returns its process, as the route `process` does.
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().and_then(|process| process.child.id()).expect("a process that runs")
    }

    /// Kills it, as `kill -9` does, and waits until it has ended.
    pub(crate) async fn kill(&mut self) {
        let mut process = self.process.take().expect("a process that runs");
        process.child.kill().await.expect("a process of ours");
    }

    /// Freezes the process.
    pub(crate) fn freeze(&self) {
        signal(self.pid(), Signal::STOP);
    }

    /// Lets the process go on.
    pub(crate) fn thaw(&self) {
        signal(self.pid(), Signal::CONT);
    }

    /// Drains it, as SIGTERM does, and waits until it has ended, which must be a success.
    pub(crate) async fn drain(&mut self) {
        // Before this line, SIGTERM ends the process at once, as it ends any program that is just starting.
        within("a node that serves", async {
            while !fs::read_to_string(self.log()).expect("a log").contains("listening") {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        signal(self.pid(), Signal::TERM);
        let mut process = self.process.take().expect("a process that runs");
        let status = within("the end of a drained node", process.child.wait()).await.expect("a process of ours");
        assert!(status.success(), "{} drained and ended with {status}", self.name);
    }

    /// Returns what it reports about itself and these rooms.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub(crate) async fn report(&mut self, rooms: &[String]) -> Result<NodeReport, String> {
        let process = self.process.as_mut().expect("a process that runs");
        let asked = format!("{}\n", rooms.join(" "));
        let answer = async {
            process.input.write_all(asked.as_bytes()).await.ok()?;
            process.reports.next_line().await.ok()?
        };
        let line = within("a node's report", answer).await.ok_or_else(|| format!("{} has ended", self.name))?;
        serde_json::from_str(&line).map_err(|error| format!("{line}: {error}"))
    }

    /// Returns how many files it has open.
    pub(crate) fn open_files(&self) -> usize {
        open_files(self.pid())
    }
}
