struct Chat;

#[kengine::dispatcher]
impl Chat {
    #[route]
    async fn say(&self) {}
}

#[derive(kengine::Dispatcher)]
#[kengine(crate = "kengine")]
struct App {
    chat: Chat,
}

fn main() {}
