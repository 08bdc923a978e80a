struct Game;

#[kengine::dispatcher(flat = true, key = "type")]
impl Game {
    #[route]
    async fn chat(&self) {}
}

fn main() {}
