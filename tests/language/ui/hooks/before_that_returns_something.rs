struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn step(&self) {}

    #[before]
    async fn guard(&self) -> Result<bool, kengine::Error> {
        Ok(true)
    }
}

fn main() {}
