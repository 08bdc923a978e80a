struct Game;

#[kengine::dispatcher]
impl Game {
    #[accept]
    fn enter(&self) {}

    #[open]
    async fn greet(&mut self) {}

    #[open]
    async fn greet_again(&self) {}

    #[route("move", rate = "fast")]
    async fn step(&self) {}

    #[route("run")]
    #[before]
    async fn other(&self) {}
}

fn main() {}
