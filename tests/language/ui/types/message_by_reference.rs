struct Game;

#[derive(serde::Deserialize)]
struct Chat;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn chat(&self, _: &Chat) {}
}

fn main() {}
