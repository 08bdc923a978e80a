#[derive(kengine::Dispatcher)]
struct App<'a> {
    chat: &'a str,
}

fn main() {}
