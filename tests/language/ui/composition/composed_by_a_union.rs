#[derive(kengine::Dispatcher)]
union App {
    chat: u8,
}

fn main() {}
