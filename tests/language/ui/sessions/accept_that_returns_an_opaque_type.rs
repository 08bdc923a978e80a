struct Game;

#[kengine::dispatcher]
impl Game {
    #[accept]
    async fn enter(&self) -> impl kengine::Session {}
}

fn main() {}
