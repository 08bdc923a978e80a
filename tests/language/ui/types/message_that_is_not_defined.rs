struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn chat(&self, _: Chta) {}
}

fn main() {}
