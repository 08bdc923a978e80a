struct Game;

impl Game {
    #[route("chat")]
    async fn chat(&self) {}
}

fn main() {}
