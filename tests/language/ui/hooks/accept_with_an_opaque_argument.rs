struct Game;

#[kengine::dispatcher]
impl Game {
    #[accept]
    async fn enter(&self, _: &impl Send) {}
}

fn main() {}
