struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    const CHAT: u8 = 3;

    #[route]
    async fn chat(&self) {}
}

fn main() {}
