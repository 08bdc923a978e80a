struct Game;

#[kengine::dispatcher(crate = "kengine")]
impl Game {
    #[route]
    async fn chat(&self) {}
}

fn main() {}
