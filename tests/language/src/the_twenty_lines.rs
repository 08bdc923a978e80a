//! The first program. It is in a module because its `main` would not return.

#![allow(dead_code)]

mod program {
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
}
