use kengine::Server;

struct Chat;

#[kengine::dispatcher(key = "type")]
impl Chat {
    #[route]
    async fn say(&self) {}
}

struct Combat;

#[kengine::dispatcher(key = "type")]
impl Combat {
    #[route]
    fn attack(&self) {}
}

#[derive(kengine::Dispatcher)]
struct App {
    chat: Chat,
    combat: Combat,
}

fn main() {
    let _ = Server::new(App { chat: Chat, combat: Combat });
}
