struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn step(&self) {}

    #[open]
    async fn greet(&self) -> u32 {
        1
    }
}

fn main() {}
