struct Game;

#[kengine::dispatcher]
impl Game {
    #[cfg(all())]
    #[route("chat")]
    async fn chat(&self) {}

    #[cfg(not(any()))]
    #[route("chat")]
    async fn talk(&self) {}
}

fn main() {}
