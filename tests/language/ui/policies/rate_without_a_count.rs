struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", rate = "/s")]
    async fn step(&self) {}
}

fn main() {}
