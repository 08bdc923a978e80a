//! Serves on a free port.

use std::io::{self, Write};

use kengine::{Dispatcher, Server, StartError};

/// Serves on a free port, which is printed.
pub(crate) async fn serve(server: Server<impl Dispatcher>) -> Result<(), StartError> {
    let bound = server.bind("127.0.0.1:0").await?;
    println!("{}", bound.local_addr().port());
    // Without a reader at the other end of the pipe there is nobody to tell.
    let _ = io::stdout().flush();
    bound.serve().await
}
