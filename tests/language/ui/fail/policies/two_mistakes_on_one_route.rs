struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", rate = "fast", max = "huge")]
    async fn step(&self) {}
}

fn main() {}
