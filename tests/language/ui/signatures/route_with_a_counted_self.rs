struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn chat(self: std::sync::Arc<Self>) {}
}

fn main() {}
