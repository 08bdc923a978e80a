struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn step(&self) {}

    #[accept]
    fn enter(&self) {}

    #[close]
    fn leave(&self) {}
}

fn main() {}
