struct Game;

#[kengine::dispatcher]
impl Game {
    #[route = "chat"]
    async fn chat(&self) {}
}

fn main() {}
