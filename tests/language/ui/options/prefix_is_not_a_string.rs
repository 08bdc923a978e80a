struct Game;

#[kengine::dispatcher(prefix = combat)]
impl Game {
    #[route]
    async fn step(&self) {}
}

fn main() {}
