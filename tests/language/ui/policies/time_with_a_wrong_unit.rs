struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", timeout = "50 moons")]
    async fn step(&self) {}
}

fn main() {}
