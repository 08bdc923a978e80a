struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", rate = "30/s", rate = "60/s")]
    async fn step(&self) {}
}

fn main() {}
