struct Game;

#[derive(serde::Deserialize)]
struct Chat;

#[kengine::dispatcher]
impl Game {
    #[fallback]
    async fn rest(&self, _: Chat) {}

    #[heartbeat]
    async fn alive(&self, _: Chat) -> kengine::Liveness {
        kengine::Liveness::Alive
    }
}

fn main() {}
