struct Chat;

#[kengine::dispatcher]
impl Chat {
    #[route]
    async fn chat(&self) {}
}

struct Players;

#[derive(kengine::Dispatcher)]
struct App {
    chat: Chat,
    players: Players,
}

fn main() {}
