//! Starts and stops the examples for their tests. The examples are the folders next to this file; run one with
//! `cargo run --example <folder>`.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
    time::{sleep, timeout},
};

/// How long a test waits for each event before it fails.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A program under test. Dropping it kills the program.
#[derive(Debug)]
pub struct Program {
    child: Child,
    url: String,
    /// Kept open, because a program fails when it prints to a closed pipe.
    _output: Option<Lines<BufReader<ChildStdout>>>,
}

impl Program {
    /// Builds an example, starts it on a free port, and waits until it prints its address.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn start(example: &str) -> Self {
        Self::start_at(example, 0).await
    }

    /// Builds an example, starts it on this port, and waits until it prints its address.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn start_at(example: &str, port: u16) -> Self {
        let mut command = Command::new(program(example));
        command.env("KENGINE_LISTEN", format!("127.0.0.1:{port}")).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the example starts");
        let mut output = BufReader::new(child.stdout.take().expect("stdout is a pipe")).lines();
        let listening = async {
            loop {
                let line = output.next_line().await.expect("readable output").expect("the example prints its address");
                if let Some(url) = line.split([' ', ';']).find(|word| word.starts_with("ws://")) {
                    return url.to_owned();
                }
            }
        };
        let url = timeout(TEST_TIMEOUT, listening).await.expect("the example starts in time");
        Self { child, url, _output: Some(output) }
    }

    /// Starts a program that always listens on this port, and waits until it listens.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn run(program: &Path, port: u16) -> Self {
        let mut child = Command::new(program).kill_on_drop(true).spawn().expect("the program starts");
        let listening = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                assert!(child.try_wait().expect("a child of ours").is_none(), "the program ended instead of listening");
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(TEST_TIMEOUT, listening).await.expect("the program listens in time");
        Self { child, url: format!("ws://127.0.0.1:{port}/ws"), _output: None }
    }

    /// Returns the URL of its WebSocket.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends SIGTERM.
    ///
    /// # Panics
    ///
    /// If the program has already ended.
    pub fn terminate(&self) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        let sent = rustix::process::kill_process(id.expect("a running program"), rustix::process::Signal::TERM);
        sent.expect("the program can be signalled");
    }

    /// Kills the program, like `kill -9`, and waits until it has ended.
    ///
    /// # Panics
    ///
    /// If that fails.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("a child of ours");
    }

    /// Waits until the program has ended.
    ///
    /// # Panics
    ///
    /// If it does not end in time.
    pub async fn ended(mut self) -> ExitStatus {
        timeout(TEST_TIMEOUT, self.child.wait()).await.expect("the program ends in time").expect("a child of ours")
    }
}

/// Returns a port of this machine that is not in use.
///
/// # Panics
///
/// If every port is in use.
pub fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.expect("a free port").port()
}

/// Builds an example, and returns the path of the program.
///
/// # Panics
///
/// If the build fails.
pub fn program(example: &str) -> PathBuf {
    // With the dependencies' features of the whole workspace, which `cargo test --workspace` has already built.
    build(Path::new(env!("CARGO_MANIFEST_DIR")), &["--workspace", "--example", example]);
    examples().join(example)
}

/// Runs `cargo build` in a folder, because cargo does not build the programs that a test runs.
///
/// # Panics
///
/// If the build fails.
pub fn build(folder: &Path, arguments: &[&str]) {
    let cargo = std::process::Command::new(env!("CARGO"))
        .arg("build")
        .arg("--quiet")
        .args(arguments)
        .current_dir(folder)
        .status();
    assert!(cargo.expect("cargo starts").success(), "cargo build {arguments:?} in {}", folder.display());
}

/// Returns the folder of the built examples, which is next to the folder of the tests.
fn examples() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test");
    test.ancestors().nth(2).expect("tests are in `deps`").join("examples")
}
