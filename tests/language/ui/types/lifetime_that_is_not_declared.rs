struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn chat(&self, _: &'m str) {}
}

fn main() {}
