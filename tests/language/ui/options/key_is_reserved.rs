struct Game;

#[kengine::dispatcher(key = "id")]
impl Game {
    #[route]
    async fn chat(&self) {}
}

fn main() {}
