struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn step(&self) {}

    #[before]
    async fn one(&self) {}

    #[before]
    async fn two(&self) {}
}

fn main() {}
