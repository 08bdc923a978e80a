use std::num::ParseIntError;

struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn number(&self, text: String) -> Result<u32, ParseIntError> {
        text.parse()
    }

    #[route]
    async fn text(&self) -> Result<(), String> {
        Err("no".into())
    }

    #[route]
    async fn boxed(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Err("no".into())
    }
}

fn main() {}
