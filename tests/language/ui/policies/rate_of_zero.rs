struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", rate = "0/s")]
    async fn step(&self) {}
}

fn main() {}
