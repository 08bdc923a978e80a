//! kengine as its users run it: `#[tokio::main]`, the default features, and every limit on.

mod game;
mod serving;

use kengine::{Connection, Handshake, Hub, StartError};

struct Game;

game::dispatcher!();

#[tokio::main]
async fn main() -> Result<(), StartError> {
    serving::serve(game::server(Game)).await
}
