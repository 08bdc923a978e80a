struct Game;

#[kengine::dispatcher(se)]
impl Game {
    #[route]
    async fn enter(&self) {}

    #[route]
    async fn leave(&self) {}
}

fn main() {
    let _ = (kengine::Server::new(Game), Game.enter(), Game.leave());
}
