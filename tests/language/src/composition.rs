//! Every form of `#[derive(Dispatcher)]`.
#![deny(warnings, clippy::all, clippy::pedantic)]

use kengine::{Dispatcher, Handshake, Liveness, Session, wire::Envelope};

struct Player;

impl Session for Player {}

struct Door;

#[kengine::dispatcher]
impl Door {
    #[accept]
    async fn enter(&self, _: &Handshake) -> Player {
        Player
    }

    #[route]
    async fn enter_again(&self) {}
}

struct Chat;

#[kengine::dispatcher(session = Player)]
impl Chat {
    #[route]
    async fn say(&self, _: &Player, text: String) -> String {
        text
    }

    #[heartbeat]
    async fn alive(&self) -> Liveness {
        Liveness::Alive
    }
}

struct Store<D>(D);

#[kengine::dispatcher(session = Player)]
impl<D: Send + Sync + 'static> Store<D> {
    #[route]
    async fn buy(&self, _: u32) {}

    #[fallback]
    async fn rest(&self, _: &Envelope<'_>) {
        let _ = &self.0;
    }
}

#[derive(Dispatcher)]
struct App {
    door: Door,
    chat: Chat,
    store: Store<u8>,
}

#[derive(Dispatcher)]
struct Nested(Door, Inner, Store<std::marker::PhantomData<fn() -> u8>>);

#[derive(Dispatcher)]
struct Inner {
    r#type: Chat,
}

#[derive(Dispatcher)]
struct Generic<D>
where
    D: Send + Sync + 'static,
{
    door: Door,
    chat: Chat,
    store: Store<D>,
}

#[derive(Dispatcher)]
struct Any<A, B: ?Sized, C> {
    a: A,
    c: C,
    b: B,
}

mod net {
    pub use kengine as engine;
}

#[derive(net::engine::Dispatcher)]
#[kengine(crate = crate::composition::net::engine)]
struct Renamed {
    #[cfg(any())]
    off: Missing,
    only: Door,
}

fn routes<D: Dispatcher>(_: D) -> Vec<&'static str> {
    D::ROUTES.iter().map(|route| route.name).collect()
}

#[test]
fn the_forms_do_what_they_say() {
    let app = App { door: Door, chat: Chat, store: Store(0) };
    assert_eq!(routes(app), ["enter_again", "say", "buy"]);
    let nested = Nested(Door, Inner { r#type: Chat }, Store(std::marker::PhantomData));
    assert_eq!(routes(nested), ["enter_again", "say", "buy"]);
    let generic = Generic { door: Door, chat: Chat, store: Store("") };
    assert_eq!(routes(generic), ["enter_again", "say", "buy"]);
    assert_eq!(routes(Any { a: Chat, b: Door, c: Store(()) }), ["say", "buy", "enter_again"]);
    assert_eq!(routes(Renamed { only: Door }), ["enter_again"]);
    let hooks = App::HOOKS;
    assert!(hooks.accept && hooks.heartbeat && hooks.fallback && !hooks.open && !hooks.close);
}
