//! Heartbeats and fallbacks.

use kengine::{CloseCode, Connection, Error, Liveness, wire::Envelope};
use serde::Serialize;

#[derive(Serialize)]
struct Unknown {
    method: String,
}

struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn noop(&self) {}

    #[heartbeat]
    async fn alive(&self, connection: &Connection) -> Liveness {
        match connection.peer() {
            Some(_) => Liveness::answer("still here"),
            None => Liveness::close(CloseCode::NORMAL, "go away"),
        }
    }

    #[fallback]
    async fn rest(&self, _: &Connection, envelope: &Envelope<'_>) -> Result<Unknown, Error> {
        Ok(Unknown { method: envelope.route().to_owned() })
    }
}

struct OnlyFallback;

#[kengine::dispatcher]
impl OnlyFallback {
    #[fallback]
    async fn everything(&self, envelope: &Envelope<'_>) -> String {
        envelope.payload().to_owned()
    }
}

struct Deaf;

#[kengine::dispatcher]
impl Deaf {
    #[fallback]
    async fn silence(&self) {}
}
