struct Game;

struct Bad;

type Answer = kengine::Result<Bad>;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn bad(&self) -> Bad {
        Bad
    }

    #[route]
    async fn option(&self) -> Option<Bad> {
        None
    }

    #[route]
    async fn result(&self) -> kengine::Result<Bad> {
        Ok(Bad)
    }

    #[route]
    async fn alias(&self) -> Answer {
        Ok(Bad)
    }

    #[fallback]
    async fn fallback(&self) -> Bad {
        Bad
    }
}

fn main() {}
