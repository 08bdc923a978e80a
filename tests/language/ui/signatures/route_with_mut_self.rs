struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn chat(&mut self) {}

    #[route]
    async fn talk(self: &mut Self) {}
}

fn main() {}
