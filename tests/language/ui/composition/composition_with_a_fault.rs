use kengine::{Dispatcher, Server, Session};

struct Player;

impl Session for Player {}

struct Chat;

#[kengine::dispatcher(key = "type", session = Player)]
impl Chat {
    #[route]
    async fn say(&self) {}
}

#[derive(Dispatcher)]
#[kengine(session = Player, key = "type")]
struct Inner {
    chat: Chat,
}

struct Combat;

#[kengine::dispatcher(key = "type", session = Player)]
impl Combat {
    #[route]
    async fn attack(&self) {}
}

#[derive(Dispatcher)]
struct App {
    inner: Inner,
    combat: Combat,
}

fn main() {
    let _ = Server::new(App { inner: Inner { chat: Chat }, combat: Combat });
}
