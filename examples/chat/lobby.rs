//! The dispatcher of the chat.

use kengine::{
    Connection, Error, Handshake, Hub, Liveness, Push, Refusal, Session, Uid,
    room::{Member, Room, RoomCount},
};
use serde::{Deserialize, Serialize};

/// The session: the uid that the client chose, or none for a guest.
pub(crate) struct Player(Option<Uid>);

impl Session for Player {
    fn uid(&self) -> Option<Uid> {
        self.0.clone()
    }
}

/// A message that a player sends.
#[derive(Deserialize)]
struct Chat {
    /// Old clients use the misspelled name.
    #[serde(alias = "greetting")]
    greeting: String,
    /// Any data, which is passed on to the other members.
    context: Option<serde_json::Value>,
    /// The room to send to. By default the message goes to every room of the player.
    room: Option<String>,
}

/// The push that the other members of a room receive.
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
    /// The last uid of the previous page of members.
    #[serde(default)]
    after: String,
}

/// A page of the list of rooms.
#[derive(Default, Deserialize)]
struct Page {
    /// The name of the last room of the previous page.
    after: String,
}

/// The maximum number of entries in an answer. A client that gets this many asks for those after the last one. Without
/// this limit, the answer would grow with the number of rooms or members.
const MAX_LISTED: usize = 100;

/// Returns the members of a room after a uid, sorted by uid.
async fn members(room: &Room<'_>, after: &str) -> Vec<Member> {
    let members = room.members().await.into_iter();
    members.skip_while(|member| member.uid.as_str() <= after).take(MAX_LISTED).collect()
}

pub(crate) struct Lobby;

#[kengine::dispatcher]
impl Lobby {
    /// Takes the uid from the query, which is only acceptable in a demo: a client could choose the uid of another
    /// player, read that player's messages, and replace their connection. The example `auth` authenticates players.
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Player, Refusal> {
        Ok(Player(handshake.query("uid").map(Uid::new).transpose()?))
    }

    /// Answers the player, and sends the message to the other members of the room.
    #[route("chat")]
    async fn chat(&self, connection: &Connection<Player>, chat: Chat) -> Result<String, Error> {
        let mut rooms = connection.rooms();
        if let Some(room) = &chat.room {
            rooms.retain(|joined| joined.name() == room);
            if rooms.is_empty() {
                return Err(Error::new("not_a_member", "join the room before you chat in it"));
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

    /// Adds the player to a room, and returns the first page of its members. From now on the player receives messages,
    /// and pushes when others join or leave.
    #[route(rate = "5/s", burst = 50)]
    async fn join(&self, hub: &Hub, connection: &Connection<Player>, place: Place) -> Result<Vec<Member>, Error> {
        let room = hub.room(&place.room);
        room.join(connection).with_presence().await?;
        Ok(members(&room, &place.after).await)
    }

    /// Removes the player from a room. Returns whether the player was a member.
    #[route]
    async fn leave(&self, hub: &Hub, connection: &Connection<Player>, place: Place) -> bool {
        hub.room(&place.room).leave(connection)
    }

    /// Returns a page of the rooms of this node.
    #[route(rate = "5/s", burst = 50)]
    async fn rooms(&self, hub: &Hub, page: Option<Page>) -> Vec<RoomCount> {
        hub.rooms("").local_page(&page.unwrap_or_default().after, MAX_LISTED)
    }

    /// Returns a page of the members of a room.
    #[route(rate = "5/s", burst = 50)]
    async fn who(&self, hub: &Hub, place: Place) -> Vec<Member> {
        members(&hub.room(&place.room), &place.after).await
    }

    /// Answers every heartbeat. A game could check the state of the player first.
    #[heartbeat]
    async fn alive(&self, connection: &Connection<Player>) -> Liveness {
        tracing::trace!(connection = %connection.id(), "heartbeat");
        Liveness::Alive
    }
}
