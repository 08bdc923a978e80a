struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    const async fn chat(&self) {}
}

fn main() {}
