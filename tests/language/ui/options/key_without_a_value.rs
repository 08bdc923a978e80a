struct Game;

#[kengine::dispatcher(key, flat)]
impl Game {
    #[route]
    async fn chat(&self) {}
}

fn main() {}
