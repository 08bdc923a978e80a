//! The smallest complete program.
//!
//! ```sh
//! cargo run --example minimal
//! ```
//!
//! Then send `{"method":"chat","message":{"greeting":"hello"}}` to `ws://127.0.0.1:8000/ws` with any WebSocket client.
//! The answer is `"hey, you said: hello"`. `test.rs` tests the dispatcher without a network.

use kengine::Server;
use serde::Deserialize;

#[derive(Deserialize)]
struct Chat {
    greeting: String,
}

struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("chat")]
    async fn chat(&self, chat: Chat) -> String {
        format!("hey, you said: {}", chat.greeting)
    }
}

#[tokio::main]
async fn main() -> Result<(), kengine::StartError> {
    Server::new(Game).bind("127.0.0.1:8000").await?.serve().await
}

#[cfg(test)]
mod test;
