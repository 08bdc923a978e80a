struct Game;

#[kengine::dispatcher]
impl Game {
    #[fallback = "rest"]
    async fn rest(&self) {}
}

fn main() {}
