//! Pushes: their form under each syntax.

use kengine::{Connection, Push, Server, push::SendError};
use kengine_tests::{ClientFrame, RawClient, TestServer, every_row};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

#[derive(Serialize)]
struct Arrived {
    player: u32,
    name: &'static str,
}

impl Push for Arrived {
    const NAME: &'static str = "arrived";
}

#[derive(Serialize)]
struct Started {}

impl Push for Started {
    const NAME: &'static str = "started";
}

#[derive(Serialize)]
struct Ended;

impl Push for Ended {
    const NAME: &'static str = "a \"quoted\" name";
}

#[derive(Serialize)]
struct Score(u32);

impl Push for Score {
    const NAME: &'static str = "score";
}

/// A push that cannot be serialized.
struct Broken;

impl Serialize for Broken {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("broken, as the test wants"))
    }
}

impl Push for Broken {
    const NAME: &'static str = "broken";
}

/// Sends the push of this name; returns the outcome.
fn push(connection: &Connection, name: &str) -> &'static str {
    let sent = match name {
        "arrived" => connection.send(&Arrived { player: 7, name: "né \"🎲\"" }),
        "started" => connection.send(&Started {}),
        "ended" => connection.send(&Ended),
        "score" => connection.send(&Score(5)),
        "broken" => connection.send(&Broken),
        other => panic!("there is no push {other}"),
    };
    match sent {
        Ok(()) => "sent",
        Err(SendError::Closed) => "closed",
        Err(SendError::TooSlow) => "too slow",
        Err(SendError::Encode(_)) => "not encoded",
        Err(_) => "another error",
    }
}

macro_rules! game {
    ($game:ident, $($syntax:tt)*) => {
        struct $game;

        #[kengine::dispatcher($($syntax)*)]
        impl $game {
            #[route("arrived")]
            async fn arrived(&self, connection: &Connection) -> &'static str {
                push(connection, "arrived")
            }

            #[route("started")]
            async fn started(&self, connection: &Connection) -> &'static str {
                push(connection, "started")
            }

            #[route("ended")]
            async fn ended(&self, connection: &Connection) -> &'static str {
                push(connection, "ended")
            }

            #[route("score")]
            async fn score(&self, connection: &Connection) -> &'static str {
                push(connection, "score")
            }

            #[route("broken")]
            async fn broken(&self, connection: &Connection) -> &'static str {
                push(connection, "broken")
            }
        }
    };
}

game!(Usual,);
game!(Renamed, key = "type", payload = "data");
game!(Flat, key = "type", flat);

/// Requests each push; checks its form and what `send` returned.
async fn pushes<D>(game: D, key: &str, rows: [(&'static str, Result<Value, ()>); 5])
where
    D: kengine::Dispatcher<Session = ()>,
{
    let server = TestServer::start(Server::new(game)).await;
    every_row(rows.map(|(name, expected)| (name, (name, expected))), async |(name, expected)| {
        let mut client = RawClient::connect(server.address()).await;
        client.send_frames([ClientFrame::text(format!(r#"{{"{key}":"{name}","id":1}}"#))]).await;
        let mut seen = Vec::new();
        for _ in 0..if expected.is_ok() { 2 } else { 1 } {
            let frame = client.next().await.expect("a frame");
            seen.push(serde_json::from_slice::<Value>(&frame.payload).expect("JSON"));
        }
        // The push and the answer may come in either order.
        seen.sort_by_key(|frame| frame.get("result").is_some());
        let result = if expected.is_ok() { "sent" } else { "not encoded" };
        let expected: Vec<_> = expected.into_iter().chain([json!({"id": 1, "result": result})]).collect();
        assert_eq!(seen, expected);
        client.heartbeat().await;
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_push_has_its_name_and_its_payload_and_no_id() {
    pushes(
        Usual,
        "method",
        [
            ("arrived", Ok(json!({"method": "arrived", "message": {"player": 7, "name": "né \"🎲\""}}))),
            ("started", Ok(json!({"method": "started", "message": {}}))),
            ("ended", Ok(json!({"method": "a \"quoted\" name", "message": null}))),
            ("score", Ok(json!({"method": "score", "message": 5}))),
            ("broken", Err(())),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_push_uses_the_key_and_payload_of_its_dispatcher() {
    pushes(
        Renamed,
        "type",
        [
            ("arrived", Ok(json!({"type": "arrived", "data": {"player": 7, "name": "né \"🎲\""}}))),
            ("started", Ok(json!({"type": "started", "data": {}}))),
            ("ended", Ok(json!({"type": "a \"quoted\" name", "data": null}))),
            ("score", Ok(json!({"type": "score", "data": 5}))),
            ("broken", Err(())),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_push_of_a_flat_dispatcher_is_flat() {
    pushes(
        Flat,
        "type",
        [
            ("arrived", Ok(json!({"type": "arrived", "player": 7, "name": "né \"🎲\""}))),
            ("started", Ok(json!({"type": "started"}))),
            ("ended", Ok(json!({"type": "a \"quoted\" name"}))),
            // A number cannot be flattened beside the key.
            ("score", Err(())),
            ("broken", Err(())),
        ],
    )
    .await;
}
