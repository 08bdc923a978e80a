struct Chat;

#[kengine::dispatcher]
impl Chat {
    #[route]
    async fn chat(&self) {}

    #[heartbeat]
    async fn alive(&self) -> kengine::Liveness {
        kengine::Liveness::Alive
    }
}

struct Combat;

#[kengine::dispatcher]
impl Combat {
    #[route]
    async fn fight(&self) {}

    #[heartbeat]
    async fn alive(&self) -> kengine::Liveness {
        kengine::Liveness::Silent
    }
}

#[derive(kengine::Dispatcher)]
struct App {
    chat: Chat,
    combat: Combat,
}

fn main() {}
