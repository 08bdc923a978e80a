struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn step(&self) {}

    #[accept]
    async fn enter(&self, _: &kengine::Connection) {}
}

fn main() {}
