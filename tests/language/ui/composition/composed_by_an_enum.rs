#[derive(kengine::Dispatcher)]
enum App {
    Chat(u8),
}

fn main() {}
