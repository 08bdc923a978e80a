struct Game;

#[kengine::dispatcher]
impl Game {
    #[before]
    async fn guard(&self) {}
}

fn main() {}
