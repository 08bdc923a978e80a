struct Game;

#[kengine::dispatcher(key = method)]
impl Game {
    #[route]
    async fn chat(&self) {}
}

fn main() {}
