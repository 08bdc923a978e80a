struct Game;

#[kengine::dispatcher]
impl Game {
    #[route = ]
    async fn chat(&self) {}
}

fn main() {
    let _ = (kengine::Server::new(Game), Game.chat());
}
