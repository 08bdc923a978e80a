struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    #[open]
    async fn greet(&self) {}

    #[accept]
    #[close]
    async fn enter(&self) {}

    #[before]
    #[fallback]
    async fn guard(&self) {}
}

fn main() {}
