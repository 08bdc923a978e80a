struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("chat", quota = "30/s")]
    async fn chat(&self) {}
}

fn main() {}
