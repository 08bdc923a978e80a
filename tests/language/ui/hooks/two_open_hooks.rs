struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn step(&self) {}

    #[open]
    async fn one(&self) {}

    #[open]
    async fn two(&self) {}
}

fn main() {}
