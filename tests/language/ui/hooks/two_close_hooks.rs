struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn step(&self) {}

    #[close]
    async fn one(&self) {}

    #[close]
    async fn two(&self) {}
}

fn main() {}
