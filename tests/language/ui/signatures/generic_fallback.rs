struct Game;

#[kengine::dispatcher]
impl Game {
    #[fallback]
    async fn rest<const N: usize>(&self) {}
}

fn main() {}
