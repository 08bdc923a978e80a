//! A game that hostile clients attack beside honest players.

use std::{collections::BTreeMap, future::pending, sync::LazyLock, time::Duration};

use kengine::{Connection, Error, Handshake, Hub, Push, Refusal, Server};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::runtime::Handle;

use crate::{Said, town::Player};

/// A game whose players meet in rooms. Their uid is the one in the query.
#[derive(Clone, Copy, Debug)]
pub struct Fortress;

/// What a node holds, and how often it has refused something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The connections, including those whose end is not complete.
    pub connections: usize,
    /// Those of them that wait for their players.
    pub suspended: usize,
    /// The rooms.
    pub rooms: usize,
    /// The pushes and answers that clients do not read, in bytes.
    pub queued_bytes: usize,
    /// The tasks of the runtime.
    pub tasks: usize,
    /// The limits that have refused something, and how often.
    pub refusals: BTreeMap<String, u64>,
}

impl Held {
    /// Returns what the node of this hub holds. Called on the node's runtime.
    pub fn of(hub: &Hub) -> Self {
        let refusals = hub.refusals().filter(|(_, count)| *count > 0);
        Self {
            connections: hub.connections(),
            suspended: hub.suspended(),
            rooms: hub.rooms("").local_list().len(),
            queued_bytes: hub.queued_bytes(),
            tasks: Handle::current().metrics().num_alive_tasks(),
            refusals: refusals.map(|(limit, count)| (limit.to_owned(), count)).collect(),
        }
    }
}

/// A long text that is already JSON, so that it costs the node little time.
static PAGE: LazyLock<Box<RawValue>> = LazyLock::new(|| letters(1000));
/// A very long text that is already JSON.
static BOOK: LazyLock<Box<RawValue>> = LazyLock::new(|| letters(100_000));

fn letters(count: usize) -> Box<RawValue> {
    RawValue::from_string(format!("\"{}\"", "x".repeat(count))).expect("a string")
}

/// A push to the sender itself, to fill its outbox.
#[derive(Serialize, Push)]
struct Page(&'static RawValue);

impl Fortress {
    /// Returns a server of the game, which limits the addresses of this machine too. A handler that never returns ends
    /// soon, so that no test waits for it.
    pub fn server() -> Server<Self> {
        Server::new(Self).limit_loopback().handler_timeout(Duration::from_secs(2))
    }
}

#[kengine::dispatcher]
impl Fortress {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Player, Refusal> {
        Player::of(handshake)
    }

    #[route]
    async fn join(&self, hub: &Hub, connection: &Connection<Player>, room: String) -> Result<(), Error> {
        Ok(hub.room(room).join(connection).await?)
    }

    #[route]
    async fn leave(&self, hub: &Hub, connection: &Connection<Player>, room: String) -> bool {
        hub.room(room).leave(connection)
    }

    /// Takes a seat in a room for two.
    #[route]
    async fn sit(&self, hub: &Hub, connection: &Connection<Player>, prefix: String) -> Result<(), Error> {
        hub.rooms(prefix).fill(2, connection).await?;
        Ok(())
    }

    /// Joins this many rooms, and leaves each of them if that is wanted; returns how many it joined.
    #[route]
    async fn hop(
        &self,
        hub: &Hub,
        connection: &Connection<Player>,
        (rooms, leaves): (usize, bool),
    ) -> Result<usize, Error> {
        for number in 0..rooms {
            let room = hub.room(format!("{} {number}", connection.uid()));
            room.join(connection).await?;
            if leaves {
                room.leave(connection);
            }
        }
        Ok(rooms)
    }

    /// Sends to the others in the room.
    #[route]
    async fn say(
        &self,
        hub: &Hub,
        connection: &Connection<Player>,
        (room, text): (String, String),
    ) -> Result<(), Error> {
        hub.room(room).except(connection).send(&Said(text))?;
        Ok(())
    }

    /// Pushes this many pages of 1,000 letters to the client itself.
    #[route]
    async fn pages(&self, connection: &Connection<Player>, count: usize) {
        for _ in 0..count {
            // Beyond the limit, the connection is closed.
            let _ = connection.send(&Page(&PAGE));
        }
    }

    /// Answers with this many books of 100,000 letters.
    #[route]
    async fn books(&self, count: usize) -> Vec<&'static RawValue> {
        vec![&BOOK; count]
    }

    #[route(max_size = "64B")]
    async fn short(&self, text: String) -> String {
        text
    }

    #[route(rate = "1/h")]
    async fn seldom(&self) {}

    /// Never returns.
    #[route]
    async fn forever(&self) {
        pending::<()>().await;
    }

    /// Returns what the node holds.
    #[route]
    async fn held(&self, hub: &Hub) -> Held {
        Held::of(hub)
    }
}
