struct Bad;

struct Chat;

#[kengine::dispatcher(session = Bad)]
impl Chat {
    #[route]
    async fn say(&self) {}
}

#[derive(kengine::Dispatcher)]
#[kengine(session = Bad)]
struct App {
    chat: Chat,
}

fn main() {}
