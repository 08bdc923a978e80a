struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn step(&self) {}

    #[cfg_attr(unix, open)]
    async fn greet(&self) {}
}

fn main() {}
