//! kengine as its users run it: `#[tokio::main]`, the default features, and every limit on. With `--resume`, clients
//! may ask for sessions that they can resume.

mod game;
mod serving;

use std::env;
use std::time::Duration;

use kengine::{Connection, Handshake, Hub, StartError};

/// How long a client may stay away.
const RESUME_WITHIN: Duration = Duration::from_secs(60);

struct Game;

game::dispatcher!();

#[tokio::main]
async fn main() -> Result<(), StartError> {
    let resumes = env::args().any(|argument| argument == "--resume");
    let server = game::server(Game);
    serving::serve(if resumes { server.resume_within(RESUME_WITHIN) } else { server }).await
}
