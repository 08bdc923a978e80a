//! What the examples' tests share: the examples themselves are the folders beside this file, each run by
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

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program under test; it is killed when this is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    url: String,
    /// Kept open: a program whose output nobody takes would die of it.
    _output: Option<Lines<BufReader<ChildStdout>>>,
}

impl Program {
    /// Builds and starts an example on a free port, and waits until it says where it listens.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub async fn start(example: &str) -> Self {
        Self::start_at(example, 0).await
    }

    /// The same on this port.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub async fn start_at(example: &str, port: u16) -> Self {
        let mut command = Command::new(program(example));
        command.env("KENGINE_LISTEN", format!("127.0.0.1:{port}")).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("it starts");
        let mut output = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let told = async {
            loop {
                let line = output.next_line().await.expect("it is text").expect("it says where it listens");
                if let Some(url) = line.split([' ', ';']).find(|word| word.starts_with("ws://")) {
                    return url.to_owned();
                }
            }
        };
        let url = timeout(PATIENCE, told).await.expect("it comes up");
        Self { child, url, _output: Some(output) }
    }

    /// Starts a program that listens on this port of its own accord, and waits until it does.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub async fn run(program: &Path, port: u16) -> Self {
        let mut child = Command::new(program).kill_on_drop(true).spawn().expect("it starts");
        let listening = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                assert!(
                    child.try_wait().expect("it can be waited for").is_none(),
                    "it ended instead of listening"
                );
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, listening).await.expect("it listens");
        Self { child, url: format!("ws://127.0.0.1:{port}/ws"), _output: None }
    }

    /// Where its WebSocket is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends SIGTERM.
    ///
    /// # Panics
    ///
    /// When it has ended already.
    pub fn terminate(&self) {
        let id =
            self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        let sent = rustix::process::kill_process(id.expect("it runs"), rustix::process::Signal::TERM);
        sent.expect("it can be signalled");
    }

    /// Kills it, as `kill -9` does, and waits for its end.
    ///
    /// # Panics
    ///
    /// When it cannot be waited for.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed, and waited for");
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub async fn ended(mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.expect("it ends").expect("it can be waited for")
    }
}

/// A port of this machine on which nothing listens.
///
/// # Panics
///
/// When there is none.
pub fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.expect("a free port").port()
}

/// Builds an example, and tells where it is.
///
/// # Panics
///
/// When the build fails.
pub fn program(example: &str) -> PathBuf {
    build(Path::new(env!("CARGO_MANIFEST_DIR")), &["--example", example]);
    examples().join(example)
}

/// Runs `cargo build` in a folder: a test on its own does not build the programs it runs.
///
/// # Panics
///
/// When the build fails.
pub fn build(folder: &Path, arguments: &[&str]) {
    let cargo = std::process::Command::new(env!("CARGO"))
        .arg("build")
        .arg("--quiet")
        .args(arguments)
        .current_dir(folder)
        .status();
    assert!(cargo.expect("cargo starts").success(), "cargo build {arguments:?} in {}", folder.display());
}

/// Where cargo puts examples: beside the tests.
fn examples() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    test.ancestors().nth(2).expect("tests lie in `deps`").join("examples")
}
