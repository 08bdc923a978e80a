struct Chat;

#[kengine::dispatcher]
impl Chat {
    #[route]
    async fn chat(&self) {}
}

struct Combat;

#[kengine::dispatcher(key = "type")]
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
