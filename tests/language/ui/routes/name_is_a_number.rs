struct Game;

#[kengine::dispatcher]
impl Game {
    #[route(7)]
    async fn chat(&self) {}
}

fn main() {}
