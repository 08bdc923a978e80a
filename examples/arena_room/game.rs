//! The dispatcher: turns the messages of players into commands.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kengine::{Connection, DisconnectReason, Error, Handshake, Hub, Refusal, Session, Uid, room::Members};
use serde::Serialize;

use crate::{
    arena::Heading,
    arenas::{Arenas, SEATS, Seat},
};

/// The session: a player, and their seat while they play.
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
        // No code panics in the middle of a change while it holds the lock, so a poisoned state is still valid.
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to `play`. The client draws the positions of `players`, and updates this list on the pushes `joined` and
/// `left`. The last position of a player may arrive after the player's `left`.
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
    /// Takes the uid from the query, which is only acceptable in a demo. The example `auth` authenticates players.
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Pilot, Refusal> {
        Ok(Pilot { uid: handshake.query("uid").map(Uid::new).transpose()?, seat: Mutex::default() })
    }

    /// Seats the player in the fullest arena with a free seat, or in a new one.
    #[route]
    async fn play<'a>(&self, hub: &Hub, connection: &'a Connection<Pilot>, pilot: &Pilot) -> Result<Seated<'a>, Error> {
        if pilot.seat().as_ref().is_some_and(Seat::is_open) {
            return Err(Error::new("already_playing", "you are in an arena; leave it first"));
        }
        let rooms = hub.rooms("arena-");
        let room = rooms.fill(SEATS, connection).with_presence().await?;
        let seat = self.arenas.enter(&room, connection).await?;
        *pilot.seat() = Some(seat);
        Ok(Seated { arena: room.name().to_owned(), you: connection.uid(), players: room.members().await })
    }

    /// Changes the direction of the player's ship, from the next step on.
    #[route(rate = "60/s")]
    async fn steer(&self, pilot: &Pilot, heading: Heading) -> Result<(), Error> {
        let not_playing = || Error::new("not_playing", "you are not in an arena; play first");
        pilot.seat().as_ref().ok_or_else(not_playing)?.steer(heading)
    }

    /// Gives the seat back and leaves the room. The player may play again.
    #[route]
    async fn leave(&self, connection: &Connection<Pilot>, pilot: &Pilot) {
        // Give the seat back first. Then the next player finds it free in the arena as soon as it is free in the room.
        drop(pilot.seat().take());
        for room in connection.rooms() {
            room.leave(connection);
        }
    }

    /// Gives the seat back. The connection has left its room already, so the next player may be in the arena a moment
    /// earlier.
    #[close]
    async fn gone(&self, pilot: &Pilot, reason: &DisconnectReason) {
        // If a newer connection of the player has replaced this one, it takes over the ship. So this seat stays until
        // the session is dropped, when the socket is closed.
        if *reason != DisconnectReason::Replaced {
            drop(pilot.seat().take());
        }
    }
}
