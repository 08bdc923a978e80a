struct Player;

impl kengine::Session for Player {}

struct Chat;

#[kengine::dispatcher(session = Player)]
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
