struct Game;

#[kengine::dispatcher(key = "data", payload = "data")]
impl Game {
    #[route]
    async fn chat(&self) {}
}

fn main() {}
