use kengine::route;

struct Game;

impl Game {
    #[route("chat")]
    async fn chat(&self) {}

    #[kengine::heartbeat]
    async fn alive(&self) {}

    #[kengine::fallback]
    async fn rest(&self) {}
}

fn main() {}
