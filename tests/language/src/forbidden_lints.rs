//! The expansion has no attribute that a `forbid` of the user's crate could refuse.

#![forbid(warnings)]
#![forbid(clippy::all, clippy::pedantic, clippy::nursery)]
#![forbid(
    unused,
    nonstandard_style,
    missing_docs,
    trivial_bounds,
    unreachable_patterns,
    unused_qualifications,
    single_use_lifetimes,
    rust_2018_idioms,
    unreachable_pub,
    unsafe_code,
    missing_debug_implementations,
    unused_lifetimes,
    unused_results
)]

use kengine::Dispatcher;

/// A push.
#[derive(Debug, kengine::Push)]
#[push(latest(id))]
pub struct Moved {
    id: u8,
}

// serde's derive macro emits `#[allow]`, which `forbid` refuses.
impl serde::Serialize for Moved {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.id)
    }
}

/// A dispatcher.
#[derive(Debug)]
pub struct Game;

#[kengine::dispatcher]
impl Game {
    #[route(rate = "1/s")]
    async fn chat(&self, text: String) -> usize {
        text.len()
    }

    #[route]
    async fn nothing(&self) {}

    #[before]
    async fn before(&self) -> kengine::Result<()> {
        Ok(())
    }

    #[heartbeat]
    async fn alive(&self) -> kengine::Liveness {
        kengine::Liveness::Alive
    }
}

/// A composed dispatcher.
#[derive(Debug, kengine::Dispatcher)]
pub struct Whole {
    game: Game,
}

#[test]
fn the_forms_do_what_they_say() {
    assert_eq!((Game::ROUTES.len(), Whole::ROUTES.len(), Moved { id: 3 }.id), (2, 2, 3));
}
