struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn chat(&self, greeting: String) -> usize {
        let shared = std::rc::Rc::new(greeting);
        tokio::task::yield_now().await;
        shared.len()
    }
}

fn main() {}
