struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", max_size = "0B")]
    async fn step(&self) {}
}

fn main() {}
