struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn chat(&self) {}

    #[heartbeat]
    async fn alive(&self) {}
}

fn main() {}
