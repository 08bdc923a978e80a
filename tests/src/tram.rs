//! A game whose players lose their connections again and again. It counts what its hooks are told, and notes what its
//! handlers have done.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use kengine::{Connection, DisconnectReason, Error, Handshake, Hub, Push, Refusal, Session, Uid};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::Held;

/// How long a handler of the route `work` takes if its number is a multiple of four.
const WORK_TIME: Duration = Duration::from_millis(20);

/// Counts what its hooks are told, and notes what its handlers have done. The uid is the `name` in the query, which
/// means nothing to a gateway; without it, a player is a guest.
#[derive(Clone, Debug, Default)]
pub struct Tram {
    state: Arc<TramState>,
}

#[derive(Debug, Default)]
struct TramState {
    opened: AtomicUsize,
    suspended: AtomicUsize,
    resumed: AtomicUsize,
    closed: Mutex<BTreeMap<String, usize>>,
    /// The numbers with which handlers ran, in this order, by uid.
    runs: Mutex<BTreeMap<String, Vec<u64>>>,
}

/// How often the hooks of a [`Tram`] were called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// How often `#[open]` was called.
    pub opened: usize,
    /// How often `#[suspend]` was called.
    pub suspended: usize,
    /// How often `#[resume]` was called.
    pub resumed: usize,
    /// How often `#[close]` was called, for each reason. What the reason quotes is left out.
    pub closed: BTreeMap<String, usize>,
}

/// A player of the [`Tram`].
#[derive(Clone, Debug)]
pub struct Passenger(Option<Uid>);

impl Session for Passenger {
    fn uid(&self) -> Option<Uid> {
        self.0.clone()
    }
}

/// What a player calls in a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Push)]
pub struct Call {
    /// The uid of the player.
    pub from: String,
    /// The number of the request.
    pub number: u64,
}

/// A push of a certain size.
#[derive(Serialize, Push)]
struct Parcel(String);

impl Tram {
    fn note(&self, connection: &Connection<Passenger>, number: u64) {
        let uid = connection.uid().to_string();
        self.state.runs.lock().unwrap().entry(uid).or_default().push(number);
    }
}

#[kengine::dispatcher]
impl Tram {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Passenger, Refusal> {
        Ok(Passenger(handshake.query("name").map(Uid::new).transpose()?))
    }

    #[open]
    async fn open(&self) {
        self.state.opened.fetch_add(1, Ordering::Relaxed);
    }

    #[suspend]
    async fn suspend(&self) {
        self.state.suspended.fetch_add(1, Ordering::Relaxed);
    }

    #[resume]
    async fn resume(&self) {
        self.state.resumed.fetch_add(1, Ordering::Relaxed);
    }

    #[close]
    async fn close(&self, reason: &DisconnectReason) {
        let reason = reason.to_string();
        let short = reason.split(':').next().expect("a reason").to_owned();
        *self.state.closed.lock().unwrap().entry(short).or_default() += 1;
    }

    /// Joins a room, with presence.
    #[route]
    async fn board(&self, hub: &Hub, connection: &Connection<Passenger>, room: String) -> Result<(), Error> {
        Ok(hub.room(room).join(connection).with_presence().await?)
    }

    /// Notes the number and returns it, some of them after a while.
    #[route]
    async fn work(&self, connection: &Connection<Passenger>, number: u64) -> u64 {
        self.note(connection, number);
        if number.is_multiple_of(4) {
            sleep(WORK_TIME).await;
        }
        number
    }

    /// Notes the number and sends it to the others in the room.
    #[route]
    async fn call(
        &self,
        hub: &Hub,
        connection: &Connection<Passenger>,
        (room, number): (String, u64),
    ) -> Result<u64, Error> {
        self.note(connection, number);
        let from = connection.uid().to_string();
        hub.room(room).except(connection).send(&Call { from, number })?;
        Ok(number)
    }

    /// Returns the number, and notes nothing.
    #[route]
    async fn echo(&self, number: u64) -> u64 {
        number
    }

    /// Sends this many pushes of this size in bytes to a room.
    #[route]
    async fn parcels(&self, hub: &Hub, (room, count, size): (String, usize, usize)) -> Result<(), Error> {
        let around = r#"{"method":"parcel","message":""}"#.len();
        let parcel = Parcel("x".repeat(size - around));
        for _ in 0..count {
            hub.room(&room).send(&parcel)?;
        }
        Ok(())
    }

    /// Returns the numbers with which handlers have run for this user on this node, in this order.
    #[route]
    async fn runs(&self, uid: String) -> Vec<u64> {
        self.state.runs.lock().unwrap().get(&uid).cloned().unwrap_or_default()
    }

    /// Returns how often the hooks were called on this node.
    #[route]
    async fn told(&self) -> Told {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        Told {
            opened: count(&self.state.opened),
            suspended: count(&self.state.suspended),
            resumed: count(&self.state.resumed),
            closed: self.state.closed.lock().unwrap().clone(),
        }
    }

    /// Returns what the node holds.
    #[route]
    async fn held(&self, hub: &Hub) -> Held {
        Held::of(hub)
    }
}
