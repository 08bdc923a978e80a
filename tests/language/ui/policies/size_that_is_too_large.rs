struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", max_size = "5000MiB")]
    async fn step(&self) {}
}

fn main() {}
