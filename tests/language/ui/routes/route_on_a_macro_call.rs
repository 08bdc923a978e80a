struct Game;

macro_rules! routes {
    () => {};
}

#[kengine::dispatcher]
impl Game {
    #[route]
    routes! {}

    #[route]
    async fn chat(&self) {}
}

fn main() {}
