#![allow(dead_code)]

mod net {
    pub use kengine as engine;
}

struct Game;

#[net::engine::dispatcher(crate = crate::renamed_crate::net::engine)]
impl Game {
    #[route]
    async fn plain(&self) {}

    #[crate::renamed_crate::net::engine::route]
    async fn by_path(&self, _: u8) {}
}

struct Other;

#[kengine::dispatcher(crate = net::engine)]
impl Other {
    #[kengine::route("by path")]
    async fn by_path(&self, _: u8) {}

    #[net::engine::heartbeat]
    async fn alive(&self) -> kengine::Liveness {
        kengine::Liveness::Alive
    }
}

struct Player;

impl net::engine::Session for Player {}

struct Life;

#[kengine::dispatcher(crate = net::engine)]
impl Life {
    #[net::engine::accept]
    async fn enter(&self, _: &kengine::Handshake) -> Result<Player, kengine::Refusal> {
        Ok(Player)
    }

    #[net::engine::open]
    async fn greet(&self, _: &Player) {}

    #[net::engine::close]
    async fn leave(&self, _: &kengine::DisconnectReason, _: &Player) -> Result<(), kengine::Error> {
        Ok(())
    }

    #[net::engine::before]
    async fn guard(&self, _: &kengine::Call, _: &kengine::Connection<Player>) {}

    #[net::engine::fallback]
    async fn rest(&self, _: &kengine::wire::Envelope<'_>) {}

    #[net::engine::route("move", rate = "30/s", burst = 60, max_size = "512B", timeout = "50ms")]
    async fn step(&self, _: &Player, _: u8) {}
}

struct Trade;

#[kengine::dispatcher(session = Player, crate = crate::renamed_crate::net::engine)]
impl Trade {
    #[route]
    async fn offer(&self, _: &Player) {}
}

#[derive(net::engine::Dispatcher)]
#[kengine(session = Player, crate = crate::renamed_crate::net::engine)]
struct App {
    life: Life,
    trade: Trade,
}

#[derive(serde::Serialize, net::engine::Push)]
#[push("moved", latest(player), crate = crate::renamed_crate::net::engine)]
struct Moved<T> {
    player: T,
}
