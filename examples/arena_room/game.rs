//! The dispatcher: seats players in arenas, and passes on how they steer.

use kengine::{Connection, Error, Handshake, Hub, Refusal, Session, Uid, room::Members};
use serde::Serialize;

use crate::arena::{Arena, Heading, Steer};

/// The maximum number of players in an arena.
pub(crate) const SEATS: usize = 9;

/// The prefix of the names of arenas.
const ARENAS: &str = "arena-";

/// The session: a player.
pub(crate) struct Pilot(Option<Uid>);

impl Session for Pilot {
    fn uid(&self) -> Option<Uid> {
        self.0.clone()
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

pub(crate) struct Game;

#[kengine::dispatcher]
impl Game {
    /// Takes the uid from the query, which is only acceptable in a demo. The example `auth` authenticates players.
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Pilot, Refusal> {
        Ok(Pilot(handshake.query("uid").map(Uid::new).transpose()?))
    }

    /// Seats the player in the fullest arena with a free seat, or in a new one. A player whose connection was lost
    /// names the arena to come back to, which plays on even if all players or its node have gone. A player who is in an
    /// arena stays there.
    #[route]
    async fn play<'a>(
        &self,
        hub: &Hub,
        connection: &'a Connection<Pilot>,
        arena: Option<String>,
    ) -> Result<Seated<'a>, Error> {
        let seat = hub.rooms(ARENAS).fill(SEATS, connection).with_presence();
        let room = match (connection.rooms().pop(), arena) {
            (Some(room), _) => room,
            (None, Some(arena)) => seat.in_room(arena).await?,
            (None, None) => seat.await?,
        };
        room.run::<Arena>().await?;
        Ok(Seated { arena: room.name().to_owned(), you: connection.uid(), players: room.members().await })
    }

    /// Changes the direction of the player's ship.
    #[route(rate = "60/s")]
    async fn steer(&self, connection: &Connection<Pilot>, heading: Heading) -> Result<(), Error> {
        let rooms = connection.rooms();
        let room = rooms.first().ok_or_else(|| Error::new("not_playing", "you are not in an arena; play first"))?;
        Ok(room.tell::<Arena>(&Steer { player: connection.uid().clone(), velocity: heading.velocity() })?)
    }

    /// Gives the seat back. The player may play again.
    #[route]
    async fn leave(&self, connection: &Connection<Pilot>) {
        for room in connection.rooms() {
            room.leave(connection);
        }
    }
}
