struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn step(&self) {}

    #[before]
    async fn guard<T>(&self, _: T) {}
}

fn main() {}
