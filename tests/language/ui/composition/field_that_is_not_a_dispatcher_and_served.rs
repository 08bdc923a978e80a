use kengine::Server;

struct Player;

impl kengine::Session for Player {}

struct Chat;

#[kengine::dispatcher]
impl Chat {
    #[accept]
    async fn enter(&self) -> Player {
        Player
    }
}

struct Players;

#[derive(kengine::Dispatcher)]
struct App {
    chat: Chat,
    players: Players,
}

fn main() {
    let _ = Server::new(App { chat: Chat, players: Players });
}
