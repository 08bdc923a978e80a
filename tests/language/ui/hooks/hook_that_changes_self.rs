struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn step(&self) {}

    #[open]
    async fn greet(&mut self) {}
}

fn main() {}
