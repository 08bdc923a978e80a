struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", rate = "fast", max_size = "huge")]
    async fn step(&self) {}
}

fn main() {}
