//! The chat itself: who may come in, what they may say, and who hears it.

use kengine::{
    Connection, Error, Handshake, Hub, Liveness, Push, Refusal, Session, Uid,
    room::{Members, RoomCount},
};
use serde::{Deserialize, Serialize};

/// Who talks: whoever they say they are, or a guest.
pub(crate) struct Player(Option<Uid>);

impl Session for Player {
    fn uid(&self) -> Option<Uid> {
        self.0.clone()
    }
}

/// What a player says.
#[derive(Deserialize)]
struct Chat {
    /// Clients of the first kengine spell it as its documentation did.
    #[serde(alias = "greetting")]
    greeting: String,
    /// Anything the client wants to go with it.
    context: Option<serde_json::Value>,
    /// Where it is said: in every room that the player is in, unless the client names one.
    room: Option<String>,
}

/// What the other members of a room hear.
#[derive(Serialize, Push)]
#[push("chat")]
struct Heard<'a> {
    room: &'a str,
    from: &'a Uid,
    greeting: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a serde_json::Value>,
}

#[derive(Deserialize)]
struct Place {
    room: String,
}

pub(crate) struct Lobby;

#[kengine::dispatcher]
impl Lobby {
    /// Believes what the query says, as a demo may. A real server must not: whoever may choose a uid may choose
    /// somebody else's, read what is meant for them, and throw them out, since the newer of two connections stays. See
    /// the example `auth` for players who prove who they are.
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Player, Refusal> {
        Ok(Player(handshake.query("uid").map(Uid::new).transpose()?))
    }

    /// Answers the player, and tells the others in the room.
    #[route("chat")]
    async fn chat(&self, connection: &Connection<Player>, chat: Chat) -> Result<String, Error> {
        let mut rooms = connection.rooms();
        if let Some(room) = &chat.room {
            rooms.retain(|joined| joined.name() == room);
            if rooms.is_empty() {
                return Err(Error::new("not_a_member", "join the room before you talk in it"));
            }
        }
        for room in rooms {
            let heard = Heard {
                room: room.name(),
                from: connection.uid(),
                greeting: &chat.greeting,
                context: chat.context.as_ref(),
            };
            room.clone().except(connection).send(&heard)?;
        }
        Ok(format!("hey, you said: {}", chat.greeting))
    }

    /// Lets the player into a room, and tells who is there. From now on the player hears who comes and goes, and what
    /// is said.
    #[route]
    async fn join(&self, hub: &Hub, connection: &Connection<Player>, place: Place) -> Result<Members, Error> {
        let room = hub.room(&place.room);
        room.join(connection).with_presence().await?;
        Ok(room.members().await)
    }

    /// Lets the player out; tells whether there was anything to leave.
    #[route]
    async fn leave(&self, hub: &Hub, connection: &Connection<Player>, place: Place) -> bool {
        hub.room(&place.room).leave(connection)
    }

    /// Tells which rooms there are.
    #[route]
    async fn rooms(&self, hub: &Hub) -> Vec<RoomCount> {
        hub.rooms("").list()
    }

    /// Tells who is in a room.
    #[route]
    async fn who(&self, hub: &Hub, place: Place) -> Members {
        hub.room(&place.room).members().await
    }

    /// Says of every player who asks that all is well; a game would look at what it knows of the player first.
    #[heartbeat]
    async fn alive(&self, connection: &Connection<Player>) -> Liveness {
        tracing::trace!(connection = %connection.id(), "heartbeat");
        Liveness::Alive
    }
}
