//! Tests the page in a real browser: two tabs chat, see each other join and leave, and reconnect when their server
//! restarts.

use kengine_examples::{Program, free_port};
use serde_json::json;

use crate::browser::{Browser, Tab};

mod browser;

impl Browser {
    /// Opens the chat as this player, and waits until it is in the lobby.
    async fn enter(&mut self, port: u16, name: &str) -> Tab {
        let tab = self.open(&format!("http://127.0.0.1:{port}/?uid={name}")).await;
        self.until(&tab, "!document.getElementById('send').disabled").await;
        tab
    }

    /// Types a text into the field and submits it.
    async fn say(&mut self, tab: &Tab, text: &str) {
        let text = json!(text);
        let write = format!(
            "(() => {{ const field = document.getElementById('text'); field.value = {text}; \
             field.dispatchEvent(new Event('input')); document.getElementById('say').requestSubmit(); }})()"
        );
        self.look(tab, &write).await;
    }

    /// Waits until the last message in the room is this text of this player.
    async fn hears(&mut self, tab: &Tab, name: &str, text: &str) {
        let (name, text) = (json!(name), json!(text));
        let last = "[...document.querySelectorAll('.log:not([hidden]) .said')].at(-1)";
        self.until(
            tab,
            &format!("{last}.querySelector('.text').textContent === {text} && {last}.textContent.includes({name})"),
        )
        .await;
    }

    /// Waits until exactly these players are shown as members.
    async fn sees(&mut self, tab: &Tab, names: &[&str]) {
        let here = "[...document.querySelectorAll('#people bdi')].map((name) => name.textContent).sort()";
        self.until(tab, &format!("JSON.stringify({here}) === {}", json!(json!(names).to_string()))).await;
    }
}

#[tokio::test]
async fn two_tabs_chat_and_survive_a_restart_of_the_server() {
    let port = free_port();
    let mut server = Program::start_at("chat", port).await;
    let mut browser = Browser::start().await;
    let ada = browser.enter(port, "ada").await;
    browser.sees(&ada, &["ada"]).await;
    let bob = browser.enter(port, "bob").await;
    for tab in [&ada, &bob] {
        browser.sees(tab, &["ada", "bob"]).await;
    }
    browser.until(&ada, "document.getElementById('latency').textContent.endsWith(' ms')").await;

    browser.say(&ada, "hello <b>bob</b>").await;
    browser.hears(&bob, "ada", "hello <b>bob</b>").await;
    browser.say(&bob, "hello ada").await;
    browser.hears(&ada, "bob", "hello ada").await;

    // The server drains, then is killed. Each time the page reconnects by itself and keeps the draft.
    browser.look(&ada, "document.getElementById('text').value = 'half a sent'").await;
    for round in 0..2 {
        if round == 0 {
            server.terminate();
            assert_eq!(server.ended().await.code(), Some(0));
        } else {
            server.kill().await;
        }
        for tab in [&ada, &bob] {
            browser.until(tab, "document.body.dataset.state !== 'open'").await;
        }
        server = Program::start_at("chat", port).await;
        for tab in [&ada, &bob] {
            browser.sees(tab, &["ada", "bob"]).await;
        }
        browser.say(&bob, &format!("back again, {round}")).await;
        browser.hears(&ada, "bob", &format!("back again, {round}")).await;
        assert_eq!(browser.look(&ada, "document.getElementById('text').value").await, "half a sent");
    }

    browser.close(bob).await;
    browser.sees(&ada, &["ada"]).await;
    browser.until(&ada, "document.querySelector('.log:not([hidden])').lastChild.textContent === 'bob left'").await;
}

/// The server refuses a name that turns text around, and says so. The page does not try again.
#[tokio::test]
async fn refused_player_learns_why() {
    let port = free_port();
    let _server = Program::start_at("chat", port).await;
    let mut browser = Browser::start().await;
    let tab = browser.open(&format!("http://127.0.0.1:{port}/?uid=a%E2%80%AEb")).await;
    browser.until(&tab, "document.body.dataset.state === 'away'").await;
    browser.until(&tab, "document.getElementById('what').textContent.includes('let you in (bad_request: ')").await;
}

#[tokio::test]
async fn older_tab_of_a_player_does_not_reconnect() {
    let port = free_port();
    let _server = Program::start_at("chat", port).await;
    let mut browser = Browser::start().await;
    let older = browser.enter(port, "ada").await;
    let newer = browser.enter(port, "ada").await;
    browser.until(&older, "document.body.dataset.state === 'away'").await;
    browser.until(&older, "document.getElementById('what').textContent.includes('as ada elsewhere')").await;
    browser.sees(&newer, &["ada"]).await;

    // It reconnects when the player clicks the button.
    browser.look(&older, "document.getElementById('again').click()").await;
    browser.sees(&older, &["ada"]).await;
    browser.until(&newer, "document.body.dataset.state === 'away'").await;
}
