//! Serves a game on a free port.

use std::io::{self, Write};

use kengine::{Dispatcher, StartError};

/// Serves a game on a free port, which is printed.
pub(crate) async fn serve(game: impl Dispatcher) -> Result<(), StartError> {
    let bound = crate::game::server(game).bind("127.0.0.1:0").await?;
    println!("{}", bound.local_addr().port());
    // Without a reader at the other end of the pipe there is nobody to tell.
    let _ = io::stdout().flush();
    bound.serve().await
}
