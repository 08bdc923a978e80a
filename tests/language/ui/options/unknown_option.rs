struct Game;

#[kengine::dispatcher(keys = "method")]
impl Game {
    #[route]
    async fn chat(&self) {}
}

fn main() {}
