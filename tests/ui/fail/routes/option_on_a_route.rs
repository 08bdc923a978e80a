struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("chat", rate = "30/s")]
    async fn chat(&self) {}
}

fn main() {}
