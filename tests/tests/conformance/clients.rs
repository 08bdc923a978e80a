//! A second opinion: clients of browsers and of other libraries, in pinned versions where a test installs them.
//!
//! Go's `gorilla/websocket` is not among them: it needs Go, which nothing else in this repository needs.

use std::{
    io::{Write, stderr},
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;

use crate::{
    behaviours::{FRAGMENTS, NO_CODE, PING, agrees},
    drivers::{Page, Script, Tungstenite},
    output_within,
};

/// Where the drivers are.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/clients");
/// Where tests install clients.
const INSTALLED: &str = env!("CARGO_TARGET_TMPDIR");
/// How long the installation of a client may take.
const INSTALLATION_TIME: Duration = Duration::from_secs(300);

/// Runs a shell command that checks or installs a client, in the folder where tests install clients. If it fails,
/// prints why and returns `false`.
async fn is_installed(client: &str, command: &str, advice: &str) -> bool {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(INSTALLED).stdout(Stdio::piped()).stderr(Stdio::piped());
    let why = match output_within(INSTALLATION_TIME, &mut shell).await.expect("a shell") {
        Some(ran) if ran.status.success() => return true,
        Some(ran) => String::from_utf8_lossy(&ran.stderr).trim().lines().last().unwrap_or_default().to_owned(),
        None => format!("it took longer than {INSTALLATION_TIME:?}"),
    };
    // The test harness does not capture this, unlike the output of `eprintln!`.
    let _ = writeln!(stderr(), "the client {client} was not tested: {advice} ({why})");
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_agrees() {
    let mut page = Page::open(include_str!("clients/web.js")).await;
    agrees(&mut page, &[FRAGMENTS, PING]).await;
    page.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_agrees() {
    let probe = "node --experimental-websocket -e WebSocket";
    if is_installed("Node.js", probe, "install Node.js 20.10 or newer").await {
        let driver = format!("{FOLDER}/node.mjs");
        let mut node = Script::start(Command::new("node").args(["--experimental-websocket", &driver]));
        agrees(&mut node, &[FRAGMENTS, PING]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ws_agrees() {
    let install = "grep -qs '\"version\": \"8.23.0\"' ws/node_modules/ws/package.json || \
                   npm install --silent --no-audit --no-fund --prefix ws ws@8.23.0";
    if is_installed("ws", install, "install Node.js and npm, and let npm reach its registry").await {
        let driver = format!("{FOLDER}/ws.mjs");
        let mut ws = Script::start(Command::new("node").args([&driver, &format!("{INSTALLED}/ws/")]));
        agrees(&mut ws, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websockets_agrees() {
    let install = "websockets/bin/python -c 'import websockets; assert websockets.__version__ == \"15.0.1\"' || \
                   { python3 -c 'import sys; assert sys.version_info >= (3, 10)' && rm -rf websockets && \
                   python3 -m venv websockets && websockets/bin/python -m pip install --quiet websockets==15.0.1; }";
    if is_installed("websockets", install, "install Python 3.10 or newer, and let pip reach PyPI").await {
        let driver = format!("{FOLDER}/websockets_sync.py");
        let mut websockets = Script::start(Command::new(format!("{INSTALLED}/websockets/bin/python")).arg(driver));
        agrees(&mut websockets, &[NO_CODE]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tungstenite_agrees() {
    agrees(&mut Tungstenite::default(), &[]).await;
}
