mod other {
    pub use std::prelude::v1::test as route;
}

struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn chat(&self) {}

    #[other::route]
    fn helper(&self) {}
}

fn main() {}
