struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn chat(_: String) {}
}

fn main() {}
