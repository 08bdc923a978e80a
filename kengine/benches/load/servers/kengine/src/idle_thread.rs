//! The same program on tokio's runtime for one thread, in a process with a second thread that does nothing. The kernel
//! does more for each system call of a process that has several threads, because they share its files.

mod game;
mod serving;

use kengine::{Connection, Handshake, Hub, StartError};

struct Game;

game::dispatcher!();

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    std::thread::spawn(|| {
        loop {
            std::thread::park();
        }
    });
    serving::serve(game::server(Game)).await
}
