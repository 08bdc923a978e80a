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
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, ChildStderr, Command},
    sync::{Mutex, MutexGuard},
    time::{sleep, timeout},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// How long the test waits for anything before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The names of the program in different distributions.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// Allows one browser at a time, because each needs all resources of a small machine.
static TURN: Mutex<()> = Mutex::const_new(());

/// A browser. Dropping it ends the browser.
pub(crate) struct Browser {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    last_id: u64,
    _child: Child,
    /// Kept open, because a program whose output pipe is closed fails when it prints.
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
        Self(std::env::temp_dir().join(format!("kengine-browser-{}-{number}", std::process::id())))
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        // Files that cannot be removed are left to the system's cleanup.
        let _ = std::fs::remove_dir_all(&self.0);
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
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the browser starts");
        let mut output = BufReader::new(child.stderr.take().expect("it is piped"));
        let told = async {
            let mut line = String::new();
            loop {
                line.clear();
                let read = output.read_line(&mut line).await.expect("it is text");
                assert!(read > 0, "the browser ended instead of listening");
                if let Some(url) = line.trim().strip_prefix("DevTools listening on ") {
                    return url.to_owned();
                }
            }
        };
        let url = timeout(PATIENCE, told).await.expect("the browser prints its address");
        let (socket, _) = connect_async(url).await.expect("it listens");
        Self { socket, last_id: 0, _child: child, _output: output, _profile: profile, _turn: turn }
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
            if begun.elapsed() > PATIENCE {
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
                let message = self.socket.next().await.expect("the browser runs").expect("it speaks WebSocket");
                let Message::Text(text) = message else { continue };
                let mut answer: Value = serde_json::from_str(&text).expect("it speaks JSON");
                if answer["id"] == json!(self.last_id) {
                    assert!(answer.get("error").is_none(), "{method}: {answer}");
                    return answer["result"].take();
                }
            }
        };
        timeout(PATIENCE, answered).await.expect("an answer of the browser")
    }
}

/// Returns the name of the installed browser. Installs one, once per process, if it is missing and that is possible.
fn find() -> &'static str {
    static FOUND: OnceLock<String> = OnceLock::new();
    let is_there = |name: &str| {
        let asked = std::process::Command::new(name).arg("--version").stdout(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    };
    let look = || {
        let given = std::env::var("CHROMIUM").ok();
        given.into_iter().chain(NAMES.map(str::to_owned)).find(|name| is_there(name))
    };
    FOUND.get_or_init(|| {
        look().or_else(|| {
            eprintln!("installing Chromium, which is missing and needed for this test");
            let install = "apt-get update -qq && apt-get install -y -qq chromium";
            let _ = std::process::Command::new("sh").args(["-c", install]).stdout(Stdio::null()).status();
            look()
        })
        .expect("this test needs a browser: install Chromium, for example with `apt-get install chromium`, or set `CHROMIUM`")
    })
}
