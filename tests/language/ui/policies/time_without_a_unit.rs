struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", timeout = "50")]
    async fn step(&self) {}
}

fn main() {}
