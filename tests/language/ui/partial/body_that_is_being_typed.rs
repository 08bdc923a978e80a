struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn enter(&self) {}

    #[route("chat")]
    async fn chat(&self) {
        self.
    }

    #[route]
    async fn leave(&self) {}
}

fn main() {
    let _ = (kengine::Server::new(Game), Game.enter(), Game.leave());
}
