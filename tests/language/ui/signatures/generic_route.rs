struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn chat<T: serde::de::DeserializeOwned>(&self, _: T) {}
}

fn main() {}
