struct Game;

struct Refused;

type Answer<T> = Result<T, Refused>;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn result(&self) -> Result<u8, Refused> {
        Ok(3)
    }

    #[route]
    async fn alias(&self) -> Answer<u8> {
        Ok(3)
    }

    #[route]
    async fn io(&self) -> std::io::Result<()> {
        Ok(())
    }
}

fn main() {}
