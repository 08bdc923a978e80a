struct Game;

#[kengine::dispatcher(session, keys = "method", "key", prefix = "chat.", flat)]
impl Game {
    #[route]
    async fn chat(&self) {}
}

fn main() {}
