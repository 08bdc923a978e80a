struct Bad;

struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn step(&self) {}

    #[close]
    async fn leave(&self) -> Result<(), Bad> {
        Ok(())
    }
}

fn main() {}
