struct Players;

#[derive(kengine::Dispatcher)]
struct App {
    players: Players,
}

fn main() {}
