//! Arguments by value of the session's type, or of a type that could be the session's.

use kengine::{Call, Context, DisconnectReason, FromContext, Handshake, Refusal, Session, Uid};
use serde::{Deserialize, de::DeserializeOwned};

struct Silent;

/// The session `()` can be a message too, because it has only one value.
#[kengine::dispatcher]
impl Silent {
    #[route]
    async fn nothing(&self, (): ()) {}

    #[route]
    async fn uid(&self, _: Uid) {}
}

/// A session that implements `FromContext`, so that handlers can take it by value.
#[derive(Clone, Deserialize)]
struct Player;

impl Session for Player {}

impl FromContext<'_, Self> for Player {
    type Error = kengine::Error;

    fn from_context(context: Context<'_, Self>) -> kengine::Result<Self> {
        Ok(context.session().clone())
    }
}

struct Game;

#[kengine::dispatcher(session = Player)]
impl Game {
    #[route]
    async fn last(&self, _: Player) {}

    #[route]
    async fn ahead(&self, _: Player, _: String) {}

    #[open]
    async fn greet(&self, _: Player) {}

    #[before]
    async fn guard(&self, _: Player) {}
}

/// The message and the session are type parameters.
struct Typed<P, M>(std::marker::PhantomData<fn() -> (P, M)>);

#[kengine::dispatcher(session = P)]
impl<P: Session + DeserializeOwned, M: DeserializeOwned + Send + 'static> Typed<P, M> {
    #[route]
    async fn take(&self, _: &P, _: M) {}
}

trait Gate: Send + Sync + 'static {
    type Player: Session + DeserializeOwned;
    type Message: DeserializeOwned + Send;
    fn enter(&self) -> Self::Player;
}

/// The session is what `#[accept]` returns, an associated type of a parameter.
struct Gated<G>(G);

#[kengine::dispatcher]
impl<G: Gate> Gated<G> {
    #[accept]
    async fn enter(&self, _: &Handshake) -> Result<G::Player, Refusal> {
        Ok(self.0.enter())
    }

    #[route]
    async fn take(&self, _: &G::Player, _: G::Message) {}

    #[route]
    async fn name(&self, _: Uid) {}

    #[before]
    async fn guard(&self, _: &Call, _: &G::Player) {}

    #[close]
    async fn leave(&self, _: &G::Player, _: &DisconnectReason) {}
}
