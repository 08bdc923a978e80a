struct Game;

#[kengine::dispatcher(payload = "seq")]
impl Game {
    #[route]
    async fn chat(&self) {}
}

fn main() {}
