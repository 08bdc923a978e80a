struct Game;

struct Bad;

struct Refused;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn result(&self) -> Result<Bad, Refused> {
        Ok(Bad)
    }
}

fn main() {}
