struct Game;

#[derive(serde::Deserialize)]
struct Chat;

#[derive(serde::Deserialize)]
struct Talk;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn chat(&self, _: Chat, _: Talk) {}
}

fn main() {}
