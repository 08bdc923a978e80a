struct Game;

#[kengine::dispatcher(key = "message")]
impl Game {
    #[route]
    async fn chat(&self) {}
}

fn main() {}
