struct Player;

impl kengine::Session for Player {}

struct Chat;

#[kengine::dispatcher]
impl Chat {
    #[route]
    async fn say(&self) {}
}

struct Combat;

#[kengine::dispatcher(session = Player)]
impl Combat {
    #[route]
    async fn attack(&self) {}
}

#[derive(kengine::Dispatcher)]
#[kengine(session = Player)]
struct App {
    chat: Chat,
    combat: Combat,
}

fn main() {}
