struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("chat")]
    #[route("talk")]
    async fn chat(&self) {}
}

fn main() {}
