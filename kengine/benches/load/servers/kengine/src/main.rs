//! kengine as its users run it: `#[tokio::main]`, the default features, and every limit on.

mod game;

use kengine::StartError;
use kengine::{Connection, Handshake, Hub};

struct Game;

game::dispatcher!();

#[tokio::main]
async fn main() -> Result<(), StartError> {
    game::serve(Game).await
}
