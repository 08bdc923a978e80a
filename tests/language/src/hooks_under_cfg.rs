//! Hooks of the connection under `cfg`s, and pairs of them under opposite `cfg`s.

use kengine::{Call, DisconnectReason, Dispatcher, Error, Refusal, Session};

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
    #[cfg(test)]
    #[accept]
    async fn enter(&self) -> Result<Player, Refusal> {
        Ok(Player)
    }

    #[cfg(not(test))]
    #[accept]
    async fn enter_otherwise(&self) -> kengine::Uid {
        Missing
    }

    #[cfg(test)]
    #[open]
    async fn greet(&self, _: &Player) {}

    #[cfg(not(test))]
    #[open]
    async fn greet_otherwise(&self, _: &kengine::Uid) {}

    #[cfg(test)]
    #[close]
    async fn leave(&self, _: &Player, _: &DisconnectReason) {}

    #[cfg(not(test))]
    #[close]
    async fn leave_otherwise(&self, _: &kengine::Uid) {}

    #[cfg(test)]
    #[before]
    async fn guard(&self, _: &Player, _: &Call) -> Result<(), Error> {
        Ok(())
    }

    #[cfg(not(test))]
    #[before]
    async fn guard_otherwise(&self, _: &kengine::Uid) {}

    #[route]
    async fn level(&self, _: &Player) {}
}

fn session<D: Dispatcher<Session = S>, S>() {}

#[test]
fn the_forms_do_what_they_say() {
    session::<Guests, ()>();
    session::<Players, Player>();
    let there = Players::HOOKS;
    assert!(there.accept && there.open && there.close);
    assert_eq!(Guests::HOOKS, kengine::wire::Hooks::NONE);
}
