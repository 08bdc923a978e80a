use kengine::{Handshake, Refusal, Session, Uid};
use serde::Deserialize;

#[derive(Deserialize)]
struct Player {
    admin: bool,
}

impl Session for Player {}

struct Game;

#[kengine::dispatcher]
impl Game {
    #[accept]
    async fn enter(&self, _: &Handshake) -> Result<Player, Refusal> {
        Ok(Player { admin: false })
    }

    #[route]
    async fn only(&self, player: Player) -> bool {
        player.admin
    }

    #[route]
    async fn last(&self, _: &kengine::Connection<Player>, player: Player) -> bool {
        player.admin
    }

    #[route]
    async fn ahead(&self, player: Player, _: String) -> bool {
        player.admin
    }

    #[fallback]
    async fn other(&self, player: Player) -> bool {
        player.admin
    }
}

struct Chat;

#[kengine::dispatcher(session = Uid)]
impl Chat {
    #[route]
    async fn me(&self, uid: Uid) -> Uid {
        uid
    }
}

type Name = Uid;

struct Alias;

#[kengine::dispatcher(session = Name)]
impl Alias {
    #[route]
    async fn me(&self, uid: kengine::Uid) -> Uid {
        uid
    }
}

struct Generic<P>(P);

#[kengine::dispatcher(session = P)]
impl<P: Session + for<'de> Deserialize<'de>> Generic<P> {
    #[route]
    async fn me(&self, player: P) {}
}

fn main() {}
