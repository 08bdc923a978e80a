//! The transcripts of `guide::protocol`, replayed.

use std::collections::HashMap;

use kengine_tests::{ClientFrame, Harbor, Line, RESUME, RawClient, TestServer, Upgrade, until};
use serde_json::Value;

const PAGE: &str = include_str!("../../../kengine/docs/protocol.md");

/// What a transcript is replayed with.
struct Replay {
    harbor: Harbor,
    server: TestServer,
    socket: Option<RawClient>,
    /// The tokens by their names in the transcript.
    tokens: HashMap<String, String>,
}

impl Replay {
    async fn event(&mut self, event: &str) {
        if let Some(connect) = event.strip_prefix("connect ") {
            let path = connect.trim_end_matches(", resumable");
            let path = self.tokens.iter().fold(path.to_owned(), |path, (name, token)| path.replace(name, token));
            let mut upgrade = Upgrade::new(self.server.address()).path(path);
            if connect.ends_with(", resumable") {
                upgrade = upgrade.with("Sec-WebSocket-Protocol", RESUME);
            }
            self.socket = Some(upgrade.open(self.server.address()).await);
        } else if event == "push Line 5" {
            self.harbor.sailor().send(&Line(5)).expect("room in the outbox");
        } else if event == "close 1000" {
            let socket = self.socket.as_mut().expect("a connection");
            socket.send_frames([ClientFrame::close(1000, "")]).await;
            assert_eq!(socket.frame().await, "close 1000", "nothing else was sent");
            self.socket = None;
        } else {
            assert!(event.starts_with("cut"), "{event}");
            if event != "cut" {
                let is_handled = async || (self.harbor.handled().last() == Some(&2)).then_some(());
                until("the last request", is_handled).await;
            }
            self.socket = None;
            let is_away = async || (self.server.hub().suspended() == 1).then_some(());
            until("a suspended session", is_away).await;
        }
    }

    async fn expect(&mut self, expected: &str) {
        let socket = self.socket.as_mut().expect("a connection");
        let frame = socket.next().await.expect("a message");
        let mut text = String::from_utf8(frame.payload).expect("UTF-8");
        let name = expected.find("TOKEN").and_then(|at| expected.get(at..at + "TOKEN1".len()));
        if let Some(name) = name {
            let answer: Value = serde_json::from_str(&text).expect("JSON");
            let token = answer["resume"]["token"].as_str().expect("a token").to_owned();
            assert!(token.len() <= 64 && token.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'-')));
            text = text.replace(&token, name);
            assert!(!self.tokens.values().any(|known| *known == token), "a token is given once");
            self.tokens.insert(name.to_owned(), token);
        }
        assert_eq!(text, expected);
    }
}

#[tokio::test]
async fn the_page_says_what_happens() {
    let transcripts: Vec<_> = PAGE.split("```text\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(transcripts.len() >= 4, "they are not found");
    for transcript in transcripts {
        let harbor = Harbor::default();
        let server = TestServer::start(harbor.server()).await;
        let mut replay = Replay { harbor, server, socket: None, tokens: HashMap::new() };
        for line in transcript.lines() {
            if let Some(text) = line.strip_prefix("C: ") {
                replay.socket.as_mut().expect("a connection").send_frames([ClientFrame::text(text)]).await;
            } else if let Some(text) = line.strip_prefix("S: ") {
                replay.expect(text).await;
            } else {
                let event = line.strip_prefix('(').and_then(|event| event.strip_suffix(')'));
                replay.event(event.unwrap_or_else(|| panic!("`{line}` is neither a message nor an event"))).await;
            }
        }
        drop(replay.socket);
        replay.server.stop().await;
    }
}
