struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", max_size = "512")]
    async fn step(&self) {}
}

fn main() {}
