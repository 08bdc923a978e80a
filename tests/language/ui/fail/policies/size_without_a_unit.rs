struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", max = "512")]
    async fn step(&self) {}
}

fn main() {}
