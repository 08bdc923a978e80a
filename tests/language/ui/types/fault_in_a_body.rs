struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn chat(&self, greeting: String) -> usize {
        greeting.length()
    }
}

fn main() {}
