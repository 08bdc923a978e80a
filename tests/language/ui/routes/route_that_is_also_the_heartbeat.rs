struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    #[heartbeat]
    async fn ping(&self) -> kengine::Liveness {
        kengine::Liveness::Alive
    }
}

fn main() {}
