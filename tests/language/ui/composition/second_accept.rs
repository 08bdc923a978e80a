struct Chat;

#[kengine::dispatcher]
impl Chat {
    #[route]
    async fn chat(&self) {}

    #[accept]
    async fn enter(&self, _: &kengine::Handshake) {}
}

struct Combat;

#[kengine::dispatcher]
impl Combat {
    #[route]
    async fn fight(&self) {}

    #[accept]
    async fn enter(&self) {}
}

#[derive(kengine::Dispatcher)]
struct App {
    chat: Chat,
    combat: Combat,
}

fn main() {}
