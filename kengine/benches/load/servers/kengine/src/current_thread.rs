//! The same program on tokio's runtime for one thread.

mod game;

use kengine::StartError;
use kengine::{Connection, Handshake, Hub};

struct Game;

game::dispatcher!();

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    game::serve(Game).await
}
