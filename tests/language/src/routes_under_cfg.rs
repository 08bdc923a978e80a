//! Routes, fallbacks and heartbeats under `cfg`s, and routes of the same name under opposite `cfg`s.

use kengine::{Dispatcher, Liveness, wire::Envelope};

struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("first")]
    #[cfg(any())]
    async fn off(&self, _: Missing) {}

    #[cfg(test)]
    #[route("second")]
    async fn on(&self) {}

    #[cfg(any())]
    #[route("third")]
    async fn third_off(&self) {}

    #[cfg(test)]
    #[route("third")]
    async fn third_on(&self) {}

    #[route]
    async fn fourth(&self) {}

    #[cfg(test)]
    #[cfg(any())]
    #[fallback]
    async fn no_fallback(&self, _: Missing) {}

    #[heartbeat]
    #[cfg(any())]
    async fn heartbeat_off(&self) -> Missing {}

    #[heartbeat]
    #[cfg(test)]
    async fn heartbeat_on(&self) -> Liveness {
        Liveness::Silent
    }
}

struct Others;

#[kengine::dispatcher]
impl Others {
    #[cfg(test)]
    #[fallback]
    async fn fallback(&self, envelope: &Envelope<'_>) -> usize {
        envelope.size()
    }

    #[cfg(not(test))]
    #[fallback]
    async fn other_fallback(&self) {}
}

#[test]
fn the_forms_do_what_they_say() {
    let names: Vec<_> = Game::ROUTES.iter().map(|route| route.name).collect();
    assert_eq!(names, ["second", "third", "fourth"]);
    // The expansion takes the index of each arm from this function.
    assert_eq!(kengine::__private::position::<Game>("second"), 0);
    assert_eq!(kengine::__private::position::<Game>("third"), 1);
    assert_eq!(kengine::__private::position::<Game>("fourth"), 2);
}
