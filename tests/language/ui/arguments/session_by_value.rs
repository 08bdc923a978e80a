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
    async fn me(&self, _: P) {}
}

trait Gate: Send + Sync + 'static {
    type Player: Session + for<'de> Deserialize<'de>;
    fn enter(&self) -> Self::Player;
}

struct Gated<G>(G);

#[kengine::dispatcher]
impl<G: Gate> Gated<G> {
    #[accept]
    async fn enter(&self) -> Result<G::Player, Refusal> {
        Ok(self.0.enter())
    }

    #[route]
    async fn me(&self, _: G::Player) {}
}

#[derive(Deserialize)]
struct Named<'a>(std::borrow::Cow<'a, str>);

impl Session for Named<'static> {}

struct Borrowing;

#[kengine::dispatcher(session = Named<'static>)]
impl Borrowing {
    #[route]
    async fn me(&self, _: Named<'_>) {}

    #[route]
    async fn again(&self, _: <Self as kengine::Dispatcher>::Session) {}
}

fn main() {}
