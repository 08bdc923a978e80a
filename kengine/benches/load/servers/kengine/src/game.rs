//! The dispatcher that is measured. The limits of a client and of handshakes are on, but raised to what the load needs.

use kengine::{Dispatcher, Push, Server, Session, Uid};
use serde::{Deserialize, Serialize};

/// The room of all members.
pub(crate) const ROOM: &str = "lobby";

/// Far above what one connection of the load sends in a second.
const NEVER_REACHED: u32 = 1_000_000_000;

pub(crate) struct Player {
    pub(crate) uid: Option<Uid>,
}

impl Session for Player {
    fn uid(&self) -> Option<Uid> {
        self.uid.clone()
    }
}

#[derive(Deserialize)]
pub(crate) struct Chat {
    pub(crate) greeting: String,
    pub(crate) context: String,
}

#[derive(Deserialize)]
pub(crate) struct Say {
    pub(crate) text: String,
}

#[derive(Serialize, Push)]
pub(crate) struct Said<'a> {
    pub(crate) text: &'a str,
}

/// Implements `Game` with the measured routes, and the routes that are given.
macro_rules! dispatcher {
    ($($more:tt)*) => {
        #[kengine::dispatcher]
        impl Game {
            #[accept]
            async fn enter(&self, handshake: &Handshake) -> crate::game::Player {
                let uid = handshake.query("uid").and_then(|uid| kengine::Uid::new(&*uid).ok());
                crate::game::Player { uid }
            }

            #[route("chat", rate = "1000000/s", max_size = "64KiB")]
            async fn chat(&self, chat: crate::game::Chat) -> String {
                std::hint::black_box(&chat.context);
                format!("hey, you said: {}", chat.greeting)
            }

            #[route("join")]
            async fn join(&self, hub: &Hub, connection: &Connection<crate::game::Player>) -> bool {
                hub.room(crate::game::ROOM).join(connection).await.is_ok()
            }

            #[route("say")]
            async fn say(&self, hub: &Hub, say: crate::game::Say) {
                let _ = hub.room(crate::game::ROOM).send(&crate::game::Said { text: &say.text });
            }

            $($more)*
        }
    };
}
pub(crate) use dispatcher;

/// Returns a server for it, with the limits raised.
pub(crate) fn server<D: Dispatcher>(game: D) -> Server<D> {
    Server::new(game)
        .max_messages_per_second(NEVER_REACHED, NEVER_REACHED)
        .max_bytes_per_second(NEVER_REACHED, NEVER_REACHED)
        .max_handshakes_per_second(NEVER_REACHED, NEVER_REACHED)
}
