struct Game;

#[kengine::dispatcher(key = "type", payload = "data", key = "kind")]
impl Game {
    #[route]
    async fn chat(&self) {}
}

fn main() {}
