struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn chat(&self, _: impl serde::de::DeserializeOwned) {}

    #[route]
    async fn talk(&self, _: Option<impl serde::de::DeserializeOwned>) {}
}

fn main() {}
