struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", max_size = "512 bits")]
    async fn step(&self) {}
}

fn main() {}
