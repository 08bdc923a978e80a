struct Game;

#[kengine::dispatcher]
impl Game {
    #[cfg_attr(all(), route("chat"))]
    async fn chat(&self) {}
}

fn main() {}
