//! Routes, fallbacks and heartbeats under `cfg`s, and routes of the same name under opposite `cfg`s.

use kengine::{Dispatcher, Liveness, wire::Envelope};

struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("first")]
    #[cfg(any())]
    async fn off(&self, _: Missing) {}

    #[cfg(all())]
    #[route("second")]
    async fn on(&self) {}

    #[cfg(any())]
    #[route("third")]
    async fn third_off(&self) {}

    #[cfg(not(any()))]
    #[route("third")]
    async fn third_on(&self) {}

    #[route]
    async fn fourth(&self) {}

    #[cfg(all())]
    #[cfg(any())]
    #[fallback]
    async fn no_fallback(&self, _: Missing) {}

    #[heartbeat]
    #[cfg(any())]
    async fn heartbeat_off(&self) -> Missing {}

    #[heartbeat]
    #[cfg(not(any()))]
    async fn heartbeat_on(&self) -> Liveness {
        Liveness::Silent
    }
}

struct Others;

#[kengine::dispatcher]
impl Others {
    #[cfg(all())]
    #[fallback]
    async fn fallback(&self, envelope: &Envelope<'_>) -> usize {
        envelope.size()
    }

    #[cfg(not(all()))]
    #[fallback]
    async fn other_fallback(&self) {}
}

fn main() {
    let names: Vec<_> = Game::ROUTES.iter().map(|route| route.name).collect();
    assert_eq!(names, ["second", "third", "fourth"]);
    // The expansion takes the index of each arm from this function.
    assert_eq!(kengine::__private::position::<Game>("second"), 0);
    assert_eq!(kengine::__private::position::<Game>("third"), 1);
    assert_eq!(kengine::__private::position::<Game>("fourth"), 2);
}
