//! The same block with one more route, whose future takes 16 KiB. No client calls this route.

mod game;
mod serving;

use kengine::{Connection, Handshake, Hub, StartError};

struct Game;

game::dispatcher! {
    #[route("replay")]
    async fn replay(&self) -> usize {
        let frames = [0_u8; 16 * 1024];
        tokio::task::yield_now().await;
        std::hint::black_box(&frames).len()
    }
}

#[tokio::main]
async fn main() -> Result<(), StartError> {
    serving::serve(game::server(Game)).await
}
