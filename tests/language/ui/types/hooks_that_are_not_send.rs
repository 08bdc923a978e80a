struct Game;

#[kengine::dispatcher]
impl Game {
    #[fallback]
    async fn rest(&self) {
        let shared = std::rc::Rc::new(3);
        tokio::task::yield_now().await;
        drop(shared);
    }

    #[heartbeat]
    async fn alive(&self) -> kengine::Liveness {
        let shared = std::rc::Rc::new(3);
        tokio::task::yield_now().await;
        drop(shared);
        kengine::Liveness::Alive
    }
}

fn main() {}
