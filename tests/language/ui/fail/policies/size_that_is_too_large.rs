struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", max = "5000MiB")]
    async fn step(&self) {}
}

fn main() {}
