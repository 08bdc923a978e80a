struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", rate = 30)]
    async fn step(&self) {}
}

fn main() {}
