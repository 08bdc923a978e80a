struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn chat(&self) {}

    #[heartbeat]
    fn alive(&self) -> kengine::Liveness {
        kengine::Liveness::Alive
    }
}

fn main() {}
