//! The dispatchers that most tests serve.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use kengine::{
    Context, Dispatcher, Handshake, Refusal,
    wire::{Answer, Message},
};
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::{WANTED_PANIC, within};

/// A message of the route `chat`.
#[derive(Debug, Deserialize)]
pub struct Chat {
    /// The first kengine's documentation misspelled this name, and its clients do too.
    #[serde(alias = "greetting")]
    pub greeting: String,
    /// Any further data.
    pub context: Option<serde_json::Value>,
}

impl Chat {
    /// Returns the reply.
    pub fn answer(&self) -> String {
        format!("hey, you said: {}", self.greeting)
    }
}

/// The smallest game: one route.
#[derive(Clone, Copy, Debug)]
pub struct Lobby;

impl Lobby {
    /// A request that is answered; its id is `"fence"`.
    pub const FENCE: &'static str = r#"{"method":"chat","message":{"greeting":"fence"},"id":"fence"}"#;

    /// Returns a request with this id (raw JSON).
    pub fn request(id: impl std::fmt::Display, greeting: &str) -> String {
        format!(r#"{{"method":"chat","message":{{"greeting":"{greeting}"}},"id":{id}}}"#)
    }

    /// Returns the answer to such a request in short, as [`summary`](crate::summary) shows it.
    pub fn answer(id: impl std::fmt::Display, greeting: &str) -> String {
        format!(r#"{id}: "hey, you said: {greeting}""#)
    }
}

#[kengine::dispatcher]
impl Lobby {
    #[route("chat")]
    async fn chat(&self, chat: Chat) -> String {
        chat.answer()
    }
}

/// Answers each message with itself.
#[derive(Clone, Copy, Debug)]
pub struct Echo;

impl Dispatcher for Echo {
    type Session = ();

    async fn message(&self, _: Context<'_, ()>, message: Message<'_>, answer: &mut Answer) {
        match message {
            Message::Text(text) => answer.text(text),
            Message::Binary(bytes) => answer.binary(bytes),
        }
    }
}

/// A gate at which handlers wait until a test opens it.
#[derive(Clone, Debug)]
pub struct Gate {
    arrived: Arc<Semaphore>,
    opened: Arc<Semaphore>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { arrived: Arc::new(Semaphore::new(0)), opened: Arc::new(Semaphore::new(0)) }
    }
}

impl Gate {
    /// Waits until the test lets one more handler pass. Handlers call this.
    pub async fn pass(&self) {
        self.arrived.add_permits(1);
        self.opened.acquire().await.expect("a gate is never removed").forget();
    }

    /// Waits until this many more handlers have arrived. Tests call this.
    pub async fn arrived(&self, count: u32) {
        let arrived = within("handlers at the gate", self.arrived.acquire_many(count)).await;
        arrived.expect("a gate is never removed").forget();
    }

    /// Lets this many handlers pass.
    pub fn open(&self, count: usize) {
        self.opened.add_permits(count);
    }
}

/// Accepts each player only when the test opens the gate.
#[derive(Clone, Debug, Default)]
pub struct Doorkeeper {
    /// Where players wait to be accepted.
    pub gate: Gate,
}

#[kengine::dispatcher]
impl Doorkeeper {
    #[accept]
    async fn enter(&self, _: &Handshake) -> Result<(), Refusal> {
        self.gate.pass().await;
        Ok(())
    }

    #[route]
    async fn never(&self) {}
}

/// Refuses each player with the status in the query, such as `?status=401`. Players without one may enter.
#[derive(Clone, Debug, Default)]
pub struct Gatehouse {
    hooks: Arc<AtomicUsize>,
}

impl Gatehouse {
    /// Returns how often `#[open]` and `#[close]` have run.
    pub fn hooks(&self) -> usize {
        self.hooks.load(Ordering::SeqCst)
    }
}

#[kengine::dispatcher]
impl Gatehouse {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<(), Refusal> {
        match handshake.query("status").as_deref() {
            None => Ok(()),
            Some("panic") => panic!("{WANTED_PANIC}"),
            Some(status) => {
                let refusal = Refusal::new(status.parse().unwrap_or(0), "closed", "not today");
                Err(refusal.header("Retry-After", 7).header("Set-Cookie", "ticket=none"))
            }
        }
    }

    #[open]
    async fn open(&self) {
        self.hooks.fetch_add(1, Ordering::SeqCst);
    }

    #[close]
    async fn close(&self) {
        self.hooks.fetch_add(1, Ordering::SeqCst);
    }

    #[route]
    async fn here(&self) -> bool {
        true
    }
}

/// Records how a handler ended: it ran to its end, or it was dropped before.
#[derive(Clone, Debug)]
pub struct Watched {
    ended: Arc<Semaphore>,
    finished: Arc<AtomicBool>,
}

impl Default for Watched {
    fn default() -> Self {
        Self { ended: Arc::new(Semaphore::new(0)), finished: Arc::default() }
    }
}

impl Watched {
    /// Runs a part of a handler whose end the test wants to know.
    pub async fn run<F: Future>(&self, future: F) -> F::Output {
        struct Told<'a>(&'a Watched);
        impl Drop for Told<'_> {
            fn drop(&mut self) {
                self.0.ended.add_permits(1);
            }
        }
        let told = Told(self);
        let output = future.await;
        self.finished.store(true, Ordering::SeqCst);
        drop(told);
        output
    }

    /// Returns whether it has ended, either way.
    pub fn has_ended(&self) -> bool {
        self.ended.available_permits() > 0
    }

    /// Waits for the end; returns whether the future ran to its end.
    pub async fn finished(&self) -> bool {
        let ended = within("the end of a handler", self.ended.acquire()).await;
        ended.expect("never closed").forget();
        self.finished.load(Ordering::SeqCst)
    }
}
