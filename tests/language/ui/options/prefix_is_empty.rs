struct Game;

#[kengine::dispatcher(prefix = "")]
impl Game {
    #[route]
    async fn step(&self) {}
}

fn main() {}
