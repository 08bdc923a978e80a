struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", max = "512B")]
    async fn step(&self) {}
}

fn main() {}
