struct Chat;

#[kengine::dispatcher(payload = "data")]
impl Chat {
    #[route]
    async fn chat(&self) {}
}

struct Combat;

#[kengine::dispatcher]
impl Combat {
    #[route]
    async fn fight(&self) {}
}

#[derive(kengine::Dispatcher)]
struct App {
    chat: Chat,
    combat: Combat,
}

fn main() {}
