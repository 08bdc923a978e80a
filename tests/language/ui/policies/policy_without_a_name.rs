struct Game;

#[kengine::dispatcher]
impl Game {
    #[route(rate = "30 per s")]
    async fn step(&self) {}
}

fn main() {}
