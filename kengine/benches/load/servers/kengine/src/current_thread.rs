//! The same program on tokio's runtime for one thread.

mod game;
mod serving;

use kengine::{Connection, Handshake, Hub, StartError};

struct Game;

game::dispatcher!();

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    serving::serve(game::server(Game)).await
}
