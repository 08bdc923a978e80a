struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn chat(self: &mut Self) {}
}

fn main() {}
