struct Chat;

#[kengine::dispatcher]
impl Chat {
    #[route]
    async fn chat(&self) {}


    #[open]
    async fn open(&self) {}
}

struct Combat;

#[kengine::dispatcher]
impl Combat {
    #[route]
    async fn fight(&self) {}


    #[open]
    async fn open(&self) {}
}

#[derive(kengine::Dispatcher)]
struct App {
    chat: Chat,
    combat: Combat,
}

fn main() {}
