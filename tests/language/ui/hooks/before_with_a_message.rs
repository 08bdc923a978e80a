struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn step(&self) {}

    #[before]
    async fn guard(&self, _: &kengine::Call, _: String) {}
}

fn main() {}
