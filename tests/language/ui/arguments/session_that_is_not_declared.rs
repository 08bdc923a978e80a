use kengine::Session;

struct Player;

impl Session for Player {}

struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn last(&self, _: &Player) {}

    #[route]
    async fn ahead(&self, _: &Player, _: String) {}

    #[open]
    async fn greet(&self, _: &Player) {}
}

fn main() {}
