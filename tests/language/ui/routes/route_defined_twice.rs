struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("chat")]
    async fn chat(&self) {}

    #[route("chat")]
    async fn talk(&self) {}
}

fn main() {}
