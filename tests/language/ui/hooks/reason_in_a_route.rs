struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn step(&self, _: &kengine::DisconnectReason) {}
}

fn main() {}
