struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", rate = "30/fortnight")]
    async fn step(&self) {}
}

fn main() {}
