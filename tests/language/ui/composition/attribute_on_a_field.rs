struct Chat;

#[kengine::dispatcher]
impl Chat {
    #[route]
    async fn say(&self) {}
}

#[derive(kengine::Dispatcher)]
struct App {
    #[kengine(session = ())]
    chat: Chat,
}

fn main() {}
