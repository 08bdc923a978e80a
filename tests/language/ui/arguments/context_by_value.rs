use kengine::{Call, Connection, DisconnectReason, Hub, Session, wire::Envelope};

struct Player;

impl Session for Player {}

struct Game;

#[kengine::dispatcher(session = Player)]
impl Game {
    #[route]
    async fn only(&self, _: Hub) {}

    #[route]
    async fn last(&self, _: &Player, _: Connection<Player>) {}

    #[route]
    async fn ahead(&self, _: Envelope<'_>, _: String) {}

    #[route]
    async fn of_no_session(&self, _: Connection) {}

    #[open]
    async fn greet(&self, _: Hub) {}

    #[before]
    async fn guard(&self, _: Call, _: &Player) {}

    #[close]
    async fn leave(&self, _: DisconnectReason, _: Connection<Player>) {}

    #[fallback]
    async fn other(&self, _: Envelope<'_>) {}
}

fn main() {}
