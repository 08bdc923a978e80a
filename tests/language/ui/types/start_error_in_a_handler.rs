use kengine::{Error, Server};

struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn open(&self) -> Result<(), Error> {
        Server::new(Self).bind("127.0.0.1:0").await?;
        Ok(())
    }

    #[route]
    async fn serve(&self) -> Result<(), kengine::StartError> {
        Ok(())
    }
}

fn main() {}
