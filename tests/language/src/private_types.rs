//! Private types in the signatures of public dispatchers, and in the keys of public pushes.

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
    use super::auth::{Gate, Player};

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

pub mod push {
    #[derive(serde::Serialize)]
    struct Cell(u32);

    #[derive(serde::Serialize, kengine::Push)]
    #[push(latest(cell))]
    pub struct Moved {
        cell: Cell,
    }
}

#[test]
fn the_forms_do_what_they_say() {
    let _ = kengine::Server::new(app::App::new());
}
