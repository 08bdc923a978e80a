//! One table of behaviours, which every client must see alike.

use std::time::Duration;

use kengine::{
    Close, CloseCode, Context, DisconnectReason, Dispatcher, Error, Server,
    wire::{Answer, Message},
};
use kengine_tests::{TestServer, Town, within};
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, UnboundedSender};

use crate::drivers::{Driver, characters};

/// The largest message.
const LARGEST: usize = 1024 * 1024;
/// The idle timeout of the server of [`STAYS`], which pings after each third of it. Other servers have
/// [`Town::IDLE_TIME`], which is longer than any test.
const IDLE_TIME: Duration = Duration::from_secs(15);

/// The behaviours that some clients cannot show.
pub(crate) const FRAGMENTS: &str = "the fragments of a text arrive as one text";
pub(crate) const PING: &str = "a ping is answered";
pub(crate) const NO_CODE: &str = "the client closes without a code";

/// The behaviour whose server pings.
const STAYS: &str = "the client answers pings, so it outlasts the idle timeout";

/// One row of the table, for a connection of its own.
struct Behaviour {
    name: &'static str,
    /// The commands that the client runs.
    sends: Vec<Value>,
    /// The events that it then reports.
    receives: Vec<Value>,
    /// How the connection has ended for the server; if `None`, it is open and the client closes it.
    end: Option<&'static str>,
}

fn table() -> Vec<Behaviour> {
    let row = |name, sends: &[Value], receives: &[Value], end| Behaviour {
        name,
        sends: sends.to_vec(),
        receives: receives.to_vec(),
        end,
    };
    let echoed = |name, messages: &[Value]| row(name, messages, messages, None);
    let bytes = |bytes: &[u8]| json!(["binary", characters(bytes)]);
    let text = |text: &str| json!(["text", text]);
    let every_byte: Vec<_> = (0..=255).collect();
    let eight_bytes = "né 🎲";
    let too_large = [json!(["close", 1009, "message too large"])];
    let violation = Some("protocol violation: 1009 \"message too large\"");
    vec![
        echoed("texts come back", &[text(eight_bytes), text(""), text("\0\"\\")]),
        echoed("bytes come back", &[bytes(&every_byte), bytes(b"")]),
        echoed("the largest text comes back", &[text(&eight_bytes.repeat(LARGEST / 8))]),
        echoed("the largest binary message comes back", &[bytes(&every_byte.repeat(LARGEST / 256))]),
        echoed("texts and bytes come back in order", &[text("1"), bytes(b"2"), text("3"), bytes(b"4")]),
        row(FRAGMENTS, &[json!(["fragments", ["né", "", " ", "🎲"]])], &[text(eight_bytes)], None),
        row(PING, &[json!(["ping", "x"])], &[json!(["pong", "x"])], None),
        echoed(STAYS, &[text("wait")]),
        row(
            "the client closes with 1000",
            &[json!(["close", 1000, "bye"])],
            &[json!(["close", 1000, "bye"])],
            Some("closed by the client: 1000 \"bye\""),
        ),
        row(
            "the client closes with 3000",
            &[json!(["close", 3000, eight_bytes])],
            &[json!(["close", 3000, eight_bytes])],
            Some("closed by the client: 3000 \"né 🎲\""),
        ),
        row(
            "the client closes with 4000",
            &[json!(["close", 4000, ""])],
            &[json!(["close", 4000, ""])],
            Some("closed by the client: 4000 \"\""),
        ),
        row(NO_CODE, &[json!(["close"])], &[json!(["close", 1005, ""])], Some("closed by the client")),
        row(
            "the server closes with 1000",
            &[text("close 1000 bye")],
            &[json!(["close", 1000, "bye"])],
            Some("closed by the server: 1000 \"bye\""),
        ),
        row(
            "the server closes with 1011",
            &[text("close 1011 ")],
            &[json!(["close", 1011, ""])],
            Some("closed by the server: 1011 \"\""),
        ),
        row(
            "the server closes with 4510",
            &[text("1"), text("close 4510 né 🎲")],
            &[text("1"), json!(["close", 4510, eight_bytes])],
            Some("closed by the server: 4510 \"né 🎲\""),
        ),
        row("a text that is one byte too large", &[text(&"x".repeat(LARGEST + 1))], &too_large, violation),
        row("a binary message that is far too large", &[bytes(&b"x".repeat(8 * LARGEST))], &too_large, violation),
    ]
}

/// Answers each message with itself, except for `close <code> <reason>`.
struct Counterpart {
    ends: UnboundedSender<String>,
}

impl Dispatcher for Counterpart {
    type Session = ();

    async fn message(&self, context: Context<'_, ()>, message: Message<'_>, answer: &mut Answer) {
        match message {
            Message::Text(text) => {
                if let Some((code, reason)) = text.strip_prefix("close ").and_then(|close| close.split_once(' ')) {
                    let code = CloseCode::new(code.parse().expect("a number")).expect("a code that may be sent");
                    context.connection().close(Close::new(code, reason.to_owned()));
                    return;
                }
                if text == "wait" {
                    tokio::time::sleep(IDLE_TIME * 11 / 10).await;
                }
                answer.text(text);
            }
            Message::Binary(bytes) => answer.binary(bytes),
        }
    }

    async fn close(&self, _: Context<'_, ()>, reason: &DisconnectReason) -> Result<(), Error> {
        // The test may have ended before the last connection.
        let _ = self.ends.send(reason.to_string());
        Ok(())
    }
}

/// Checks every behaviour. The client must show all of them except these, for which its interface has no means.
pub(crate) async fn agrees(client: &mut impl Driver, not_offered: &[&str]) {
    let mut faults = Vec::new();
    for behaviour in table() {
        let is_expected = !not_offered.contains(&behaviour.name);
        match within(behaviour.name, check(client, &behaviour)).await {
            Ok(is_offered) if is_offered == is_expected => {}
            Ok(true) => faults.push(format!("{}: the client offers it", behaviour.name)),
            Ok(false) => faults.push(format!("{}: the client does not offer it", behaviour.name)),
            Err(fault) => faults.push(format!("{}: {fault}", behaviour.name)),
        }
    }
    assert!(faults.is_empty(), "the client and the server do not agree:\n  {}", faults.join("\n  "));
}

/// Checks one behaviour on a server of its own; returns whether the client offers it.
async fn check(client: &mut impl Driver, behaviour: &Behaviour) -> Result<bool, String> {
    let (sender, mut ends) = mpsc::unbounded_channel();
    let idle_timeout = if behaviour.name == STAYS { IDLE_TIME } else { Town::IDLE_TIME };
    let server = Server::new(Counterpart { ends: sender }).max_message_size(LARGEST).idle_timeout(idle_timeout);
    let server = TestServer::start(server.origins(["*"])).await;

    client.run(&json!(["connect", format!("ws://{}/ws", server.address())])).await;
    let mut is_offered = true;
    for command in &behaviour.sends {
        is_offered &= client.run(command).await != "not offered";
    }
    if is_offered {
        for event in &behaviour.receives {
            expect(event, &client.run(&json!(["next"])).await)?;
        }
    }
    let end = match behaviour.end {
        Some(end) if is_offered => end,
        _ => {
            let close = json!(["close", 1000, ""]);
            client.run(&close).await;
            expect(&close, &client.run(&json!(["next"])).await)?;
            "closed by the client: 1000 \"\""
        }
    };
    expect(&json!(end), &json!(ends.recv().await))?;
    server.stop().await;
    Ok(is_offered)
}

fn expect(expected: &Value, got: &Value) -> Result<(), String> {
    let shown = |value: &Value| {
        let text = value.to_string();
        if text.len() > 200 {
            format!("{}… ({} bytes)", text.chars().take(50).collect::<String>(), text.len())
        } else {
            text
        }
    };
    if expected == got { Ok(()) } else { Err(format!("expected {}, got {}", shown(expected), shown(got))) }
}
