struct Game;

#[kengine::dispatcher(payload = message)]
impl Game {
    #[route]
    async fn chat(&self) {}
}

fn main() {}
