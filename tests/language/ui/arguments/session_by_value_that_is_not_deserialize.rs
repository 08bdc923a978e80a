use kengine::Session;

struct Player;

impl Session for Player {}

struct Game;

#[kengine::dispatcher(session = Player)]
impl Game {
    #[route]
    async fn me(&self, _: Player) {}

    #[open]
    async fn greet(&self, _: Player) {}

    #[before]
    async fn guard(&self, _: Player) {}
}

fn main() {}
