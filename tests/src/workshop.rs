//! A game whose connections are kept for the test, and whose handlers end as the test wants.

use std::{
    future::pending,
    panic::panic_any,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use kengine::{Connection, Push, push::SendError};
use serde::{Serialize, Serializer};
use tokio::task::yield_now;

use crate::{Chat, Gate, RawClient, TestServer, Watched};

/// The message with which handlers of the [`Workshop`] panic.
pub const WANTED_PANIC: &str = "as the test wants it";

/// Keeps every connection for the test, and has a handler for each way to end.
#[derive(Clone, Debug, Default)]
pub struct Workshop {
    /// Where `wait` and `push_later` wait.
    pub gate: Gate,
    /// How the handlers of `wait` and `forever` ended.
    pub watched: Watched,
    chats: Arc<AtomicUsize>,
    guests: Arc<Mutex<Vec<Connection>>>,
}

impl Workshop {
    /// Returns the connections in the order in which they opened.
    pub fn guests(&self) -> Vec<Connection> {
        self.guests.lock().expect("no panic").clone()
    }

    /// Returns the connection that opened last.
    pub fn guest(&self) -> Connection {
        self.guests.lock().expect("no panic").last().expect("a guest").clone()
    }

    /// Connects a client; returns it with the server's handle of its connection.
    pub async fn connect(&self, server: &TestServer) -> (RawClient, Connection) {
        let mut client = RawClient::connect(server.address()).await;
        client.heartbeat().await;
        (client, self.guest())
    }

    /// Returns how many requests to `chat`, `blob` and `letters` were handled.
    pub fn handled(&self) -> usize {
        self.chats.load(Ordering::SeqCst)
    }

    /// Returns the reply of `blob`: the number and 64 KiB.
    pub fn blob_of(number: usize) -> String {
        format!("{number} {}", "x".repeat(64 * 1024))
    }
}

#[kengine::dispatcher]
impl Workshop {
    #[open]
    async fn keep(&self, connection: &Connection) {
        self.guests.lock().expect("no panic").push(connection.clone());
    }

    #[route("chat")]
    async fn chat(&self, chat: Chat) -> String {
        self.chats.fetch_add(1, Ordering::SeqCst);
        chat.answer()
    }

    /// Answers a short request with a long reply.
    #[route]
    async fn blob(&self, number: usize) -> String {
        self.chats.fetch_add(1, Ordering::SeqCst);
        Self::blob_of(number)
    }

    /// Answers with this many letters.
    #[route]
    async fn letters(&self, count: usize) -> String {
        self.chats.fetch_add(1, Ordering::SeqCst);
        "x".repeat(count)
    }

    /// Waits until the test opens the gate.
    #[route]
    async fn wait(&self) -> &'static str {
        self.watched.run(self.gate.pass()).await;
        "done"
    }

    /// Waits until the test opens the gate, then pushes.
    #[route]
    async fn push_later(&self, connection: &Connection) -> Result<(), SendError> {
        self.gate.pass().await;
        connection.send(&Move::new(0, 0))
    }

    #[route]
    async fn forever(&self) {
        self.watched.run(pending::<()>()).await;
    }

    /// Yields this many times.
    #[route]
    async fn ponder(&self, turns: usize) -> usize {
        for _ in 0..turns {
            yield_now().await;
        }
        turns
    }

    /// Yields this many times, then panics.
    #[route]
    async fn panic(&self, turns: usize) {
        for _ in 0..turns {
            yield_now().await;
        }
        panic_any(WANTED_PANIC);
    }

    #[route]
    async fn panic_in_a_reply(&self) -> Explosive {
        Explosive
    }
}

/// A reply that panics when it is serialized.
#[derive(Debug)]
struct Explosive;

impl Serialize for Explosive {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic_any(WANTED_PANIC);
    }
}

/// A push with a number, and with ballast to fill an outbox.
#[derive(Clone, Debug, Serialize, Push)]
pub struct Move {
    number: usize,
    ballast: String,
}

impl Move {
    /// Makes one with this many bytes of ballast.
    pub fn new(number: usize, bytes: usize) -> Self {
        Self { number, ballast: "x".repeat(bytes) }
    }

    /// Returns its text on the wire.
    pub fn text(&self) -> String {
        let Self { number, ballast } = self;
        format!(r#"{{"method":"move","message":{{"number":{number},"ballast":"{ballast}"}}}}"#)
    }

    /// Returns the size of its frame on the wire in bytes; it must have more than 125 and less than 64 KiB.
    pub fn frame_size(&self) -> usize {
        self.text().len() + 4
    }
}

/// Pushes moves of a kilobyte, numbered from 0, until the outbox is full; returns how many were taken.
pub async fn fill_outbox(connection: &Connection) -> usize {
    /// 100 MB: more than any kernel holds for one connection.
    const MOST: usize = 100_000;
    for number in 0..MOST {
        match connection.send(&Move::new(number, 1000)) {
            // Gives the connection's task a turn.
            Ok(()) => yield_now().await,
            Err(SendError::TooSlow) => return number,
            Err(error) => panic!("push {number}: {error}"),
        }
    }
    panic!("the outbox of a client that does not read took 100 MB");
}
