use kengine::{Server, Session};

struct Player;

impl Session for Player {}

struct Chat;

#[kengine::dispatcher(session = Player)]
impl Chat {
    #[route]
    fn say(&self) {}
}

struct Combat;

#[kengine::dispatcher(session = Player)]
impl Combat {
    #[route]
    async fn attack(&self) {}
}

#[derive(kengine::Dispatcher)]
struct App {
    chat: Chat,
    combat: Combat,
}

fn main() {
    let _ = Server::new(App { chat: Chat, combat: Combat });
}
