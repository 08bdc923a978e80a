struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", timeout = "0ms")]
    async fn step(&self) {}
}

fn main() {}
