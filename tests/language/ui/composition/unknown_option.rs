#[derive(kengine::Dispatcher)]
#[kengine(key = "type")]
struct App {
    chat: Chat,
}

struct Chat;

#[kengine::dispatcher]
impl Chat {
    #[route]
    async fn chat(&self) {}
}

fn main() {}
