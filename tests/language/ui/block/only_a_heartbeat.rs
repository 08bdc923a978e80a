struct Game;

#[kengine::dispatcher]
impl Game {
    #[heartbeat]
    async fn alive(&self) -> kengine::Liveness {
        kengine::Liveness::Alive
    }
}

fn main() {}
