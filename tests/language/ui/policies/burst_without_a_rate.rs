struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", burst = 60)]
    async fn step(&self) {}
}

fn main() {}
