struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", max_size = "18014398509481984KiB")]
    async fn step(&self) {}
}

fn main() {}
