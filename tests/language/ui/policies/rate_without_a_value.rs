struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", rate)]
    async fn step(&self) {}
}

fn main() {}
