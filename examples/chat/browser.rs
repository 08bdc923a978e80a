//! A headless Chromium, controlled over the `DevTools` protocol.

use std::{
    process::Stdio,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, ChildStderr, Command},
    sync::{Mutex, MutexGuard},
    time::{sleep, timeout},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// How long a test waits for each event before it fails.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The names of the program in different distributions.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// Allows one browser at a time, because each needs all resources of a small machine.
static TURN: Mutex<()> = Mutex::const_new(());

/// A browser. Dropping it ends the browser.
pub(crate) struct Browser {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    last_id: u64,
    child: Child,
    /// Kept open, because a program fails when it prints to a closed pipe.
    _output: BufReader<ChildStderr>,
    _profile: Profile,
    _turn: MutexGuard<'static, ()>,
}

/// A tab of the browser.
#[derive(Debug)]
pub(crate) struct Tab {
    target: Value,
    session: String,
}

/// The folder with the browser's profile. Dropping it removes the folder.
struct Profile(std::path::PathBuf);

impl Profile {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("kengine-browser-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder that can be written to");
        Self(path)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        // Files that cannot be removed are left to the system's cleanup.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser's processes write to its profile. A browser that was waited for has no id.
        if let Some(group) = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Browser {
    /// Starts a browser, and waits until it can be controlled.
    pub(crate) async fn start() -> Self {
        let turn = TURN.lock().await;
        let profile = Profile::new();
        let mut child = Command::new(find())
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            // Do not slow down tabs in the background.
            .args(["--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows"])
            .args(["--disable-renderer-backgrounding", "--disable-dev-shm-usage", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", profile.0.display()))
            .env("TMPDIR", &profile.0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .expect("the browser starts");
        let mut output = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
        let listening = async {
            let mut line = String::new();
            loop {
                line.clear();
                let read = output.read_line(&mut line).await.expect("readable output");
                assert!(read > 0, "the browser ended instead of listening");
                if let Some(url) = line.trim().strip_prefix("DevTools listening on ") {
                    return url.to_owned();
                }
            }
        };
        let url = timeout(TEST_TIMEOUT, listening).await.expect("the browser prints its address");
        let (socket, _) = connect_async(url).await.expect("the browser accepts a connection");
        Self { socket, last_id: 0, child, _output: output, _profile: profile, _turn: turn }
    }

    /// Opens a page in a new tab.
    pub(crate) async fn open(&mut self, url: &str) -> Tab {
        let target = self.call(None, "Target.createTarget", json!({ "url": url })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call(None, "Target.attachToTarget", attach).await;
        let session = session["sessionId"].as_str().expect("a session").to_owned();
        Tab { target: target["targetId"].clone(), session }
    }

    /// Closes a tab.
    pub(crate) async fn close(&mut self, tab: Tab) {
        self.call(None, "Target.closeTarget", json!({ "targetId": tab.target })).await;
    }

    /// Evaluates an expression in a tab's page and returns its value as JSON. A promise is awaited.
    pub(crate) async fn look(&mut self, tab: &Tab, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let looked = self.call(Some(tab), "Runtime.evaluate", parameters).await;
        assert!(looked.get("exceptionDetails").is_none(), "{expression}: {looked}");
        looked["result"]["value"].clone()
    }

    /// Waits until an expression in a tab's page is true.
    pub(crate) async fn until(&mut self, tab: &Tab, expression: &str) {
        let begun = Instant::now();
        // While the page loads, the expression may throw.
        let guarded = format!("(() => {{ try {{ return Boolean({expression}) }} catch {{ return false }} }})()");
        while self.look(tab, &guarded).await != json!(true) {
            if begun.elapsed() > TEST_TIMEOUT {
                let page = self.look(tab, "document.body.innerText").await;
                panic!("{expression} did not become true; the page shows {page}");
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Calls a method of the browser, or of a tab, and waits for its result.
    async fn call(&mut self, tab: Option<&Tab>, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let mut call = json!({ "id": self.last_id, "method": method, "params": parameters });
        if let Some(tab) = tab {
            call["sessionId"] = json!(tab.session);
        }
        self.socket.send(Message::text(call.to_string())).await.expect("the browser runs");
        let answered = async {
            loop {
                let message = self.socket.next().await.expect("the browser runs").expect("a WebSocket message");
                let Message::Text(text) = message else { continue };
                let mut answer: Value = serde_json::from_str(&text).expect("a JSON message");
                if answer["id"] == json!(self.last_id) {
                    assert!(answer.get("error").is_none(), "{method}: {answer}");
                    return answer["result"].take();
                }
            }
        };
        timeout(TEST_TIMEOUT, answered).await.expect("the browser answers in time")
    }
}

/// Returns the name of the installed browser. If none is installed, tries to install one, at most once per process.
fn find() -> &'static str {
    static FOUND: OnceLock<String> = OnceLock::new();
    let is_installed = |name: &str| {
        let status = std::process::Command::new(name).arg("--version").stdout(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let find_installed = || {
        let given = std::env::var("CHROMIUM").ok();
        given.into_iter().chain(NAMES.map(str::to_owned)).find(|name| is_installed(name))
    };
    FOUND.get_or_init(|| {
        find_installed().or_else(|| {
            eprintln!("installing Chromium, which is missing and needed for this test");
            let install = "apt-get update -qq && apt-get install -y -qq chromium";
            let _ = std::process::Command::new("sh").args(["-c", install]).stdout(Stdio::null()).status();
            find_installed()
        })
        .expect("this test needs a browser: install Chromium, for example with `apt-get install chromium`, or set `CHROMIUM`")
    })
}
