struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", rate = "30/s", burst = -1)]
    async fn step(&self) {}
}

fn main() {}
