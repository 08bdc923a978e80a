use kengine::{Call, Connection, DisconnectReason, Liveness, Server};

struct Bad;

struct Game;

#[kengine::dispatcher]
impl Game {
    #[accept]
    async fn enter(&self) -> Bad {
        Bad
    }

    #[open]
    async fn greet(&self, _: &Bad, _: &Connection<Bad>) {}

    #[close]
    async fn leave(&self, _: &DisconnectReason, _: &Bad) {}

    #[before]
    async fn guard(&self, _: &Call, _: &Bad) {}

    #[heartbeat]
    async fn alive(&self, _: &Bad) -> Liveness {
        Liveness::Alive
    }

    #[route]
    async fn step(&self, _: &Bad) {}

    #[route]
    async fn walk(&self, _: &Connection<Bad>, _: &Bad, _: u8) {}

    #[fallback]
    async fn rest(&self, _: &Bad) {}
}

fn main() {
    let _ = Server::new(Game);
}
