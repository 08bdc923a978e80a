struct Chat;

#[kengine::dispatcher]
impl Chat {
    #[route]
    async fn chat(&self) {}


    #[fallback]
    async fn fallback(&self) {}
}

struct Combat;

#[kengine::dispatcher]
impl Combat {
    #[route]
    async fn fight(&self) {}


    #[fallback]
    async fn fallback(&self) {}
}

#[derive(kengine::Dispatcher)]
struct App {
    chat: Chat,
    combat: Combat,
}

fn main() {}
