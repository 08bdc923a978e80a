struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn step(&self) {}

    #[open]
    async fn greet(&self, _: &kengine::Handshake) {}
}

fn main() {}
