struct Game;

#[kengine::dispatcher(payload = "")]
impl Game {
    #[route]
    async fn chat(&self) {}
}

fn main() {}
