struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", rate = "5000000000/s")]
    async fn step(&self) {}
}

fn main() {}
