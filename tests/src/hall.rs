//! A game of matches and tables that keeps a score for each user, and notes in which order its hooks run.

use std::{
    collections::HashMap,
    mem,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kengine::{Connection, DisconnectReason, Error, Handshake, Hub, Refusal, Server, Uid};

use crate::{Gate, RawClient, Upgrade, until};

/// A game of matches and tables. It keeps a score for each user from `#[open]` to `#[close]`.
#[derive(Clone, Debug, Default)]
pub struct Hall {
    /// Where the handlers `wait` and `wait_for_long` wait, and so does the close hook of each connection while
    /// [`Hall::hold_closes`] says so.
    pub gate: Gate,
    state: Arc<HallState>,
}

#[derive(Debug, Default)]
struct HallState {
    holds_closes: AtomicBool,
    scores: Mutex<HashMap<Uid, u32>>,
    notes: Mutex<Vec<String>>,
}

impl Hall {
    /// How many players a match has.
    pub const MATCH: usize = 9;
    /// How many players a table has.
    pub const TABLE: usize = 4;

    /// Returns a server whose hung clients are never cut off.
    pub fn server(&self) -> Server<Self> {
        Server::new(self.clone()).close_timeout(Duration::MAX).idle_timeout(Duration::MAX)
    }

    /// Connects as this user.
    pub async fn connect(server: SocketAddr, uid: &str) -> RawClient {
        Upgrade::new(server).path(format!("/ws?uid={uid}")).open(server).await
    }

    /// Connects as this user, and waits until `#[open]` has run.
    pub async fn enter(server: SocketAddr, uid: &str) -> RawClient {
        let mut client = Self::connect(server, uid).await;
        client.heartbeat().await;
        client
    }

    /// Returns the request of a route without arguments, whose id is 1.
    pub fn request(route: &str) -> String {
        format!(r#"{{"method":"{route}","message":null,"id":1}}"#)
    }

    /// Makes close hooks wait at the gate, or no longer.
    pub fn hold_closes(&self, holds: bool) {
        self.state.holds_closes.store(holds, Ordering::Relaxed);
    }

    /// Returns what the hooks have noted since the last call.
    pub fn notes(&self) -> Vec<String> {
        mem::take(&mut *self.state.notes.lock().unwrap())
    }

    /// Waits until the hooks have noted this much, and returns it.
    pub async fn noted(&self, count: usize) -> Vec<String> {
        let noted = async || (self.state.notes.lock().unwrap().len() >= count).then_some(());
        until(&format!("{count} notes"), noted).await;
        self.notes()
    }

    fn note(&self, note: String) {
        self.state.notes.lock().unwrap().push(note);
    }
}

#[kengine::dispatcher]
impl Hall {
    #[accept]
    async fn enter_hall(&self, handshake: &Handshake) -> Result<Uid, Refusal> {
        Ok(Uid::new(handshake.query("uid").unwrap_or_default())?)
    }

    #[open]
    async fn come(&self, uid: &Uid) {
        self.state.scores.lock().unwrap().entry(uid.clone()).or_default();
        self.note(format!("open {uid}"));
    }

    #[close]
    async fn go(&self, hub: &Hub, uid: &Uid, reason: &DisconnectReason) {
        if self.state.holds_closes.load(Ordering::Relaxed) {
            self.gate.pass().await;
        }
        // The user may have come back already.
        if !hub.user(uid.as_str()).is_here() {
            self.state.scores.lock().unwrap().remove(uid);
        }
        self.note(format!("close {uid}: {reason}"));
    }

    /// Takes a seat in a match, and returns its room.
    #[route]
    async fn play(&self, hub: &Hub, connection: &Connection<Uid>) -> Result<String, Error> {
        Ok(hub.rooms("match-").fill(Self::MATCH, connection).await?.name().to_owned())
    }

    /// Sits down at the table, unless it is full.
    #[route]
    async fn sit(&self, hub: &Hub, connection: &Connection<Uid>) -> Result<(), Error> {
        let seat = hub.room("table").join(connection).guard(|players| {
            if players.len() < Self::TABLE { Ok(()) } else { Err(Error::new("full", "there is no free chair")) }
        });
        Ok(seat.await?)
    }

    /// Adds one to the score, and returns it.
    #[route]
    async fn score(&self, uid: &Uid) -> Result<u32, Error> {
        let mut scores = self.state.scores.lock().unwrap();
        let score = scores.get_mut(uid).ok_or_else(|| Error::new("lost", "the score is lost"))?;
        *score += 1;
        Ok(*score)
    }

    /// Waits until the test opens the gate.
    #[route]
    async fn wait(&self) {
        self.gate.pass().await;
    }

    /// Waits until the test opens the gate, for longer than any test takes.
    #[route(timeout = "60min")]
    async fn wait_for_long(&self) {
        self.gate.pass().await;
    }
}
