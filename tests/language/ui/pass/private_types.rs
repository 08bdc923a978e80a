//! What is private stays private, where the session is named.

pub mod auth {
    use kengine::{Refusal, Session};

    pub struct Player;

    impl Session for Player {}

    struct Banned;

    impl From<Banned> for Refusal {
        fn from(_: Banned) -> Self {
            Self::forbidden("banned")
        }
    }

    pub struct Gate;

    #[kengine::dispatcher(session = Player)]
    impl Gate {
        #[accept]
        async fn enter(&self) -> Result<Player, Banned> {
            Err(Banned)
        }
    }

    /// A private alias for a `Result`.
    type Entry = Result<Player, Banned>;

    pub struct Door;

    #[kengine::dispatcher(session = Player)]
    impl Door {
        #[accept]
        async fn enter(&self) -> Entry {
            Ok(Player)
        }
    }
}

pub mod app {
    use crate::auth::{Gate, Player};

    struct Chat;

    #[kengine::dispatcher(session = Player)]
    impl Chat {
        #[route]
        async fn say(&self, _: &Player) {}
    }

    #[derive(kengine::Dispatcher)]
    #[kengine(session = Player)]
    pub struct App {
        chat: Chat,
        gate: Gate,
    }

    impl App {
        pub fn new() -> Self {
            Self { chat: Chat, gate: Gate }
        }
    }
}

fn main() {
    let _ = kengine::Server::new(app::App::new());
}
