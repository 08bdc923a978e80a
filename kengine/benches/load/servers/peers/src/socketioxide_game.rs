//! The game on socketioxide: each route is an event of Socket.IO, answered with an event of the same name.

use std::io;

use axum::Router;
use axum::serve::ListenerExt;
use peers::listening;
use serde::{Deserialize, Serialize};
use socketioxide::SocketIo;
use socketioxide::extract::{Data, SocketRef};

const READ_BUFFER_SIZE: usize = 4096;
const ROOM: &str = "lobby";

#[derive(Deserialize)]
struct Chat {
    greeting: String,
    context: String,
}

#[derive(Deserialize, Serialize)]
struct Say {
    text: String,
}

// Each handler is a task of its own. On this runtime their answers are written together; on the one for several
// threads, each handler wakes the task that writes, which then runs before the next handler.
#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let (layer, io) = SocketIo::builder().ws_read_buffer_size(READ_BUFFER_SIZE).build_layer();
    io.ns("/", async |socket: SocketRef| {
        // A client that has gone gets no answers.
        socket.on("chat", async |socket: SocketRef, Data(chat): Data<Chat>| {
            std::hint::black_box(&chat.context);
            let _ = socket.emit("chat", &format!("hey, you said: {}", chat.greeting));
        });
        socket.on("join", async |socket: SocketRef| {
            socket.join(ROOM);
            let _ = socket.emit("join", &true);
        });
        socket.on("say", async |io: SocketIo, Data(say): Data<Say>| {
            let _ = io.to(ROOM).emit("said", &say).await;
        });
    });
    let listener = listening::bind().await?.tap_io(|stream| {
        // Without it answers only wait longer.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, Router::new().layer(layer)).await
}
