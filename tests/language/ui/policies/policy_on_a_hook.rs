struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn step(&self) {}

    #[open(timeout = "1s")]
    async fn greet(&self) {}
}

fn main() {}
