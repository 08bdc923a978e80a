struct Chat;

#[kengine::dispatcher(flat)]
impl Chat {
    #[route]
    async fn say(&self) {}
}

struct Combat;

#[kengine::dispatcher]
impl Combat {
    #[route]
    async fn attack(&self) {}
}

#[derive(kengine::Dispatcher)]
struct App {
    chat: Chat,
    combat: Combat,
}

fn main() {}
