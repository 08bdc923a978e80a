struct Game;

#[kengine::dispatcher(payload = "method")]
impl Game {
    #[route]
    async fn chat(&self) {}
}

fn main() {}
