struct Game;

#[kengine::dispatcher(flat, payload = "data")]
impl Game {
    #[route]
    async fn chat(&self) {}
}

fn main() {}
