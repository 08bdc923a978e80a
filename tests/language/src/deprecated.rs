//! Deprecated items cause no warning in the expansion.

#![deny(warnings)]

use kengine::{Connection, Dispatcher};

/// A user silences the warnings of the code that they write.
#[allow(deprecated)]
mod game {
    #[derive(kengine::Push, serde::Serialize)]
    #[push("old", latest(player))]
    #[deprecated]
    pub struct OldPush {
        pub player: u32,
    }
}

#[derive(serde::Deserialize)]
#[deprecated]
pub struct OldMessage {}

#[deprecated]
#[derive(kengine::Push, serde::Serialize)]
pub struct OldPush {}

pub struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    #[deprecated = "use `chat`"]
    async fn say(&self, _: String) {}

    #[route]
    #[allow(deprecated)]
    async fn old(&self, _: &Connection, _: OldMessage) {}
}

pub struct Other;

#[kengine::dispatcher]
#[allow(deprecated)]
impl Other {
    #[route]
    async fn old(&self, _: OldMessage) {}

    #[open]
    #[deprecated]
    async fn open(&self) {}
}

#[deprecated]
pub struct OldGame;

#[kengine::dispatcher]
#[allow(deprecated)]
impl OldGame {
    #[route]
    async fn oldest(&self) {}
}

#[derive(kengine::Dispatcher)]
pub struct Both {
    #[allow(deprecated)]
    first: OldGame,
    #[allow(deprecated)]
    second: OldGame2,
}

#[deprecated]
pub struct OldGame2;

#[kengine::dispatcher]
#[allow(deprecated)]
impl OldGame2 {
    #[route]
    async fn older(&self) {}
}

#[test]
fn the_forms_do_what_they_say() {
    assert_eq!((Game::ROUTES.len(), Other::ROUTES.len(), Both::ROUTES.len()), (2, 1, 2));
}
