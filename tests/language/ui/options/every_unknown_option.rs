struct Game;

#[kengine::dispatcher(session, keys = "method", "key", suffix = "chat.", flat)]
impl Game {
    #[route]
    async fn chat(&self) {}
}

fn main() {}
