//! The game on axum, with read buffers of 4 KiB: the default of 128 KiB costs it time and memory.

use std::io;

use axum::Router;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use axum::serve::ListenerExt;
use bytes::Bytes;
use peers::game::{self, Step};
use peers::listening;
use peers::room::{Membership, Room};

const READ_BUFFER_SIZE: usize = 4096;

static ROOM: Room = Room::new();

#[tokio::main]
async fn main() -> io::Result<()> {
    let listener = listening::bind().await?.tap_io(|stream| {
        // Without it answers only wait longer.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, Router::new().route("/ws", get(upgrade))).await
}

async fn upgrade(request: WebSocketUpgrade) -> Response {
    request.read_buffer_size(READ_BUFFER_SIZE).on_upgrade(async |socket| {
        // It ends with an error when the client cuts the connection.
        let _ = play(socket).await;
    })
}

async fn play(mut socket: WebSocket) -> Result<(), axum::Error> {
    let mut membership = Membership::default();
    loop {
        let message = tokio::select! {
            message = socket.recv() => message,
            push = membership.next() => {
                socket.send(Message::Text(text(push))).await?;
                continue;
            }
        };
        let answer = match message.transpose()? {
            Some(Message::Text(message)) => match game::handle(&message) {
                Step::Answer(answer) => answer,
                Step::Join(answer) => {
                    membership.join(&ROOM);
                    answer
                }
                Step::Push(push) => {
                    ROOM.send(&Bytes::from(push));
                    continue;
                }
            },
            Some(_) => continue,
            None => return Ok(()),
        };
        socket.send(Message::text(answer)).await?;
    }
}

fn text(push: Bytes) -> Utf8Bytes {
    Utf8Bytes::try_from(push).expect("pushes are JSON")
}
