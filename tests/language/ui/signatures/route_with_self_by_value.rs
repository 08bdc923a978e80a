struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn chat(self) {}

    #[route]
    async fn talk(self: std::sync::Arc<Self>) {}
}

fn main() {}
