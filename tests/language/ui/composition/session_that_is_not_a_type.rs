struct Chat;

#[kengine::dispatcher]
impl Chat {
    #[route]
    async fn say(&self) {}
}

#[derive(kengine::Dispatcher)]
#[kengine(session = 1)]
struct App {
    chat: Chat,
}

fn main() {}
