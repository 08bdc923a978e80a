struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn step(&self) {}

    #[accept]
    async fn one(&self) {}

    #[accept]
    async fn two(&self) {}
}

fn main() {}
