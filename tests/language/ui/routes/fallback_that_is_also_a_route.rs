struct Game;

#[kengine::dispatcher]
impl Game {
    #[fallback]
    #[route]
    async fn rest(&self) {}
}

fn main() {}
