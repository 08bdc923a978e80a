struct Game;

#[kengine::dispatcher]
impl Game {
    #[fallback]
    async fn one(&self) {}

    #[fallback]
    async fn other(&self) {}
}

fn main() {}
