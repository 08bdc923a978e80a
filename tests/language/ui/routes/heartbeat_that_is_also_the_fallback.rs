struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn chat(&self) {}

    #[heartbeat]
    #[fallback]
    async fn rest(&self) {}
}

fn main() {}
