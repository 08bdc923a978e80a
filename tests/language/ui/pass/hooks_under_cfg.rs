//! Hooks of the connection under `cfg`s, and pairs of them under opposite `cfg`s.

use kengine::{Call, DisconnectReason, Dispatcher, Error, Refusal, Session, Uid};

struct Player;

impl Session for Player {}

/// No hook exists, so the session is `()`.
struct Guests;

#[kengine::dispatcher]
impl Guests {
    #[cfg(any())]
    #[accept]
    async fn enter(&self) -> Result<Missing, Refusal> {}

    #[open]
    #[cfg(any())]
    async fn greet(&self, _: &Missing) {}

    #[cfg(any())]
    #[close]
    async fn leave(&self, _: &Missing) {}

    #[cfg(any())]
    #[before]
    async fn guard(&self, _: &Missing) {}

    #[route]
    async fn whoami(&self, _: &()) {}
}

/// One hook of each pair exists.
struct Players;

#[kengine::dispatcher]
impl Players {
    #[cfg(all())]
    #[accept]
    async fn enter(&self) -> Result<Player, Refusal> {
        Ok(Player)
    }

    #[cfg(not(all()))]
    #[accept]
    async fn enter_otherwise(&self) -> Uid {
        Missing
    }

    #[cfg(all())]
    #[open]
    async fn greet(&self, _: &Player) {}

    #[cfg(not(all()))]
    #[open]
    async fn greet_otherwise(&self, _: &Uid) {}

    #[cfg(all())]
    #[close]
    async fn leave(&self, _: &Player, _: &DisconnectReason) {}

    #[cfg(not(all()))]
    #[close]
    async fn leave_otherwise(&self, _: &Uid) {}

    #[cfg(all())]
    #[before]
    async fn guard(&self, _: &Player, _: &Call) -> Result<(), Error> {
        Ok(())
    }

    #[cfg(not(all()))]
    #[before]
    async fn guard_otherwise(&self, _: &Uid) {}

    #[route]
    async fn level(&self, _: &Player) {}
}

fn session<D: Dispatcher<Session = S>, S>() {}

fn main() {
    session::<Guests, ()>();
    session::<Players, Player>();
    let there = Players::HOOKS;
    assert!(there.accept && there.open && there.close);
    assert_eq!(Guests::HOOKS, kengine::wire::Hooks::NONE);
}
