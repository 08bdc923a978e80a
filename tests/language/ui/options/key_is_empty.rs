struct Game;

#[kengine::dispatcher(key = "")]
impl Game {
    #[route]
    async fn chat(&self) {}
}

fn main() {}
