//! The server of the curves: the same block with rooms that have names, and with an idle timeout that is given in
//! seconds.

mod game;
mod serving;

use std::env;
use std::time::Duration;

use kengine::{Connection, Handshake, Hub, StartError};
use serde::Deserialize;

struct Game;

#[derive(Deserialize)]
struct Tell {
    room: String,
    text: String,
}

game::dispatcher! {
    #[route("enter")]
    async fn enter_room(&self, hub: &Hub, connection: &Connection<game::Player>, room: String) -> bool {
        hub.room(&room).join(connection).await.is_ok()
    }

    #[route("tell")]
    async fn tell(&self, hub: &Hub, tell: Tell) {
        let _ = hub.room(&tell.room).send(&game::Said { text: &tell.text });
    }
}

#[tokio::main]
async fn main() -> Result<(), StartError> {
    let mut server = game::server(Game);
    if let Some(seconds) = env::args().nth(1).and_then(|seconds| seconds.parse().ok()) {
        server = server.idle_timeout(Duration::from_secs(seconds));
    }
    serving::serve(server).await
}
