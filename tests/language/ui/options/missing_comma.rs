struct Game;

#[kengine::dispatcher(key = "type" flat)]
impl Game {
    #[route]
    async fn chat(&self) {}
}

fn main() {}
