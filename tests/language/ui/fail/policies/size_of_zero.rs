struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", max = "0B")]
    async fn step(&self) {}
}

fn main() {}
