struct Game;

#[kengine::dispatcher]
impl Game {
    #[route(names::CHAT, "chat")]
    async fn chat(&self) {}
}

fn main() {}
