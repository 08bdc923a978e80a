//! A game whose sessions can be resumed: it notes what its hooks are told, and what its handlers have done.

use std::{
    mem,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use kengine::{Connection, DisconnectReason, Error, Handshake, Hub, Push, Refusal, Server, Session, Uid};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::{Gate, until};

/// Notes what its hooks are told, and what its handlers have done. Without a `uid` in the query a player is a guest,
/// and without `expires`, in milliseconds since 1970, the session never expires.
#[derive(Clone, Debug, Default)]
pub struct Harbor {
    /// Where the handler `wait` waits.
    pub gate: Gate,
    state: Arc<HarborState>,
}

#[derive(Debug, Default)]
struct HarborState {
    notes: Mutex<Vec<String>>,
    handled: Mutex<Vec<u64>>,
    sailors: Mutex<Vec<Connection<Sailor>>>,
}

/// A player of the [`Harbor`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sailor {
    uid: Option<Uid>,
    expires: Option<SystemTime>,
}

impl Session for Sailor {
    fn uid(&self) -> Option<Uid> {
        self.uid.clone()
    }

    fn expires(&self) -> Option<SystemTime> {
        self.expires
    }
}

/// A line that a player says in a room.
#[derive(Debug, Serialize, Deserialize, Push)]
pub struct Line(pub u64);

/// Where a ship is. Only the latest place counts.
#[derive(Debug, Serialize)]
pub struct Place {
    /// The ship.
    pub ship: u32,
    /// Its place.
    pub at: u64,
}

impl Push for Place {
    const NAME: &'static str = "place";
    const DELIVERY: kengine::push::Delivery = kengine::push::Delivery::Latest;

    fn key(&self) -> impl Serialize {
        self.ship
    }
}

impl Harbor {
    /// Returns a server on which sessions wait for an hour.
    pub fn server(&self) -> Server<Self> {
        Server::new(self.clone()).resume_within(Duration::from_secs(3600))
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

    /// Returns the numbers that `count` was called with, in this order.
    pub fn handled(&self) -> Vec<u64> {
        self.state.handled.lock().unwrap().clone()
    }

    /// Returns the connections in the order in which they opened.
    pub fn sailors(&self) -> Vec<Connection<Sailor>> {
        self.state.sailors.lock().unwrap().clone()
    }

    /// Returns the connection that opened last.
    pub fn sailor(&self) -> Connection<Sailor> {
        self.sailors().pop().expect("a sailor")
    }

    fn note(&self, note: &str, sailor: &Sailor) {
        let name = sailor.uid.as_ref().map_or("guest", Uid::as_str);
        self.state.notes.lock().unwrap().push(format!("{note} {name}"));
    }
}

#[kengine::dispatcher]
impl Harbor {
    #[accept]
    async fn arrive(&self, handshake: &Handshake) -> Result<Sailor, Refusal> {
        let expires = handshake.query("expires").map(|millis| millis.parse().expect("milliseconds"));
        Ok(Sailor {
            uid: handshake.query("uid").map(Uid::new).transpose()?,
            expires: expires.map(|millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis)),
        })
    }

    #[open]
    async fn open(&self, connection: &Connection<Sailor>) {
        self.state.sailors.lock().unwrap().push(connection.clone());
        self.note("open", connection.session());
    }

    #[suspend]
    async fn suspend(&self, connection: &Connection<Sailor>) {
        self.note("suspend", connection.session());
    }

    #[resume]
    async fn resume(&self, connection: &Connection<Sailor>) {
        self.note("resume", connection.session());
    }

    #[close]
    async fn close(&self, connection: &Connection<Sailor>, reason: &DisconnectReason) {
        self.note(&format!("close ({reason})"), connection.session());
    }

    /// Notes the number and returns it.
    #[route]
    async fn count(&self, number: u64) -> u64 {
        self.state.handled.lock().unwrap().push(number);
        number
    }

    /// Waits until the test opens the gate.
    #[route]
    async fn wait(&self) -> &'static str {
        self.gate.pass().await;
        "done"
    }

    /// Answers with this many letters.
    #[route]
    async fn letters(&self, count: usize) -> String {
        "x".repeat(count)
    }

    /// Returns when the session expires, in milliseconds since 1970.
    #[route]
    async fn expires(&self, connection: &Connection<Sailor>) -> Option<u128> {
        let since = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).ok();
        connection.expires().and_then(since).map(|since| since.as_millis())
    }

    /// Takes the only seat of a room.
    #[route]
    async fn sit(&self, hub: &Hub, connection: &Connection<Sailor>, room: String) -> Result<(), Error> {
        Ok(hub.room(&room).join(connection).seats(1).await?)
    }

    #[route]
    async fn uid(&self, connection: &Connection<Sailor>) -> Uid {
        connection.uid().clone()
    }

    /// Says a line to a room after a while.
    #[route]
    async fn say(&self, hub: &Hub, (room, number): (String, u64)) -> Result<(), Error> {
        sleep(Duration::from_millis(50)).await;
        hub.room(room).send(&Line(number))?;
        Ok(())
    }

    /// Asks the player for a number, and returns it.
    #[route]
    async fn ask_back(&self, connection: &Connection<Sailor>) -> Result<u64, Error> {
        Ok(connection.ask::<u64>(&Line(0)).await?)
    }

    #[route]
    async fn join(&self, hub: &Hub, connection: &Connection<Sailor>, room: String) -> Result<(), Error> {
        Ok(hub.room(&room).join(connection).with_presence().await?)
    }
}
