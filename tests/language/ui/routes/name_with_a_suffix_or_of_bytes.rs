struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("chat"s)]
    async fn chat(&self) {}

    #[route(b"talk")]
    async fn talk(&self) {}
}

fn main() {}
