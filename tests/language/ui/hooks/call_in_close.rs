struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn step(&self) {}

    #[close]
    async fn leave(&self, _: &kengine::Call) {}
}

fn main() {}
