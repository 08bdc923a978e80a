//! The dispatcher: what players may say, translated to commands.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kengine::{Connection, Error, Handshake, Hub, Refusal, Session, Uid, room::Members};
use serde::Serialize;

use crate::{
    arena::Heading,
    arenas::{Arenas, SEATS, Seat},
};

/// Who plays, and where.
pub(crate) struct Pilot {
    uid: Option<Uid>,
    seat: Mutex<Option<Seat>>,
}

impl Session for Pilot {
    fn uid(&self) -> Option<Uid> {
        self.uid.clone()
    }
}

impl Pilot {
    fn seat(&self) -> MutexGuard<'_, Option<Seat>> {
        // Nothing between lock and unlock can panic half-way through a change.
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to `play`: what a client draws is the positions of `players`, as `joined` and `left` change them. A last
/// position of somebody may come behind the `left`.
#[derive(Serialize)]
struct Seated<'a> {
    arena: String,
    you: &'a Uid,
    players: Members,
}

#[derive(Default)]
pub(crate) struct Game {
    pub(crate) arenas: Arc<Arenas>,
}

#[kengine::dispatcher]
impl Game {
    /// Believes what the query says, as a demo may; see the example `auth` for players who prove who they are.
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Pilot, Refusal> {
        Ok(Pilot { uid: handshake.query("uid").map(Uid::new).transpose()?, seat: Mutex::default() })
    }

    /// Seats the player: in the fullest arena that has a free seat, or in a new one.
    #[route]
    async fn play<'a>(
        &self,
        hub: &Hub,
        connection: &'a Connection<Pilot>,
        pilot: &Pilot,
    ) -> Result<Seated<'a>, Error> {
        if pilot.seat().as_ref().is_some_and(Seat::is_open) {
            return Err(Error::new("already_playing", "you are in an arena; leave it first"));
        }
        let rooms = hub.rooms("arena-");
        let room = rooms.fill(SEATS, connection).with_presence().await?;
        let seat = self.arenas.enter(&room, connection).await?;
        *pilot.seat() = Some(seat);
        Ok(Seated { arena: room.name().to_owned(), you: connection.uid(), players: room.members().await })
    }

    /// Says where the player wants to go, from the next step on.
    #[route(rate = "60/s")]
    async fn steer(&self, pilot: &Pilot, heading: Heading) -> Result<(), Error> {
        let not_playing = || Error::new("not_playing", "you are in no arena; play first");
        pilot.seat().as_ref().ok_or_else(not_playing)?.steer(heading)
    }

    /// Gives the seat back; the player may look for another arena.
    #[route]
    async fn leave(&self, connection: &Connection<Pilot>, pilot: &Pilot) {
        // The seat first: whoever has one is a member, so that no more than nine are taken.
        drop(pilot.seat().take());
        for room in connection.rooms() {
            room.leave(connection);
        }
    }

    /// Gives the seat back, whatever ended the connection; the room is left by itself.
    #[close]
    async fn gone(&self, pilot: &Pilot) {
        drop(pilot.seat().take());
    }
}
