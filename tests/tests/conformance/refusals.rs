//! A page in a real browser that follows the client policy in `kengine::wire` learns why it is refused.

use kengine::{RefusalForm, Server};
use kengine_tests::{Gatehouse, TestServer};
use serde_json::{Value, json};

use crate::browser::{Browser, Tab};

/// Records how long the policy waits before it tries again, instead of waiting.
const WITHOUT_WAITING: &str = "globalThis.waits = []; globalThis.setTimeout = (_, ms) => waits.push(ms); undefined";

/// Returns the code of the client policy.
fn policy() -> &'static str {
    let page = include_str!("../../../kengine/docs/wire.md");
    let (_, rest) = page.split_once("```js\n").expect("the page has the policy");
    rest.split("```").next().unwrap_or(rest)
}

/// Opens the page of a server, which then connects to this path. Returns the tab, and what the policy has told the
/// page.
async fn connect(browser: &mut Browser, server: &TestServer, path: &str) -> (Tab, Value) {
    let address = server.address();
    let tab = browser.open(&format!("http://{address}/")).await;
    // A new tab is complete too, before it shows the page.
    browser.until(&tab, "document.title === 'a game' && document.readyState === 'complete'").await;
    browser.look(&tab, WITHOUT_WAITING).await;
    let run = format!(
        "{}\nglobalThis.events = [];\nconnect(() => 'ws://{address}{path}', {{ \
         received: (text) => events.push(text), away: (...close) => events.push(close) }}); undefined",
        policy()
    );
    browser.look(&tab, &run).await;
    browser.until(&tab, "events.length + waits.length > 0").await;
    let told = browser.look(&tab, "({ events, waits })").await;
    (tab, told)
}

fn server() -> Server<Gatehouse> {
    Server::new(Gatehouse::default()).page("/", "text/html", "<!doctype html><title>a game</title>")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_page_is_told_why_and_tries_again_only_if_it_may() {
    let mut browser = Browser::start().await;
    let node = TestServer::start(server()).await;
    let rows = [
        ("401", json!([[4504, "closed: not today"]]), None),
        ("403", json!([[4505, "closed: not today"]]), None),
        ("503", json!([]), Some(7000.0)),
        ("429", json!([]), Some(7000.0)),
        ("500", json!([]), Some(0.0)),
    ];
    for (status, events, delay) in rows {
        let (tab, told) = connect(&mut browser, &node, &format!("/ws?status={status}")).await;
        assert_eq!(told["events"], events, "{status}: {told}");
        assert_waits(status, &told, delay);
        browser.close(tab).await;
    }
    node.stop().await;
}

/// Without a close code the page cannot know that it is of no use to try again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_cannot_read_a_status() {
    let mut browser = Browser::start().await;
    let node = TestServer::start(server().tell_refusals(RefusalForm::Status)).await;
    let (tab, told) = connect(&mut browser, &node, "/ws?status=401").await;
    assert_eq!(told["events"], json!([]), "{told}");
    assert_waits("401", &told, Some(0.0));
    browser.close(tab).await;
    node.stop().await;
}

/// Asserts that the page waits once, for this time in ms and at most the first backoff, or not at all.
fn assert_waits(status: &str, told: &Value, delay: Option<f64>) {
    let waits: Vec<_> = told["waits"].as_array().expect("waits").iter().filter_map(Value::as_f64).collect();
    let is_right = match (delay, &waits[..]) {
        (None, []) => true,
        (Some(delay), [wait]) => (delay..=delay + 250.0).contains(wait),
        _ => false,
    };
    assert!(is_right, "{status}: {told}");
}
