//! The game on tokio-tungstenite, with read buffers of 4 KiB: the default of 128 KiB costs it time and memory.

use std::io;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use peers::game::{self, Step};
use peers::listening;
use peers::room::{Membership, Room};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes, protocol::WebSocketConfig};

const READ_BUFFER_SIZE: usize = 4096;

static ROOM: Room = Room::new();

#[tokio::main]
async fn main() -> io::Result<()> {
    listening::listen(async |stream| {
        // It ends with an error when the client cuts the connection.
        let _ = play(stream).await;
    })
    .await
}

async fn play(stream: TcpStream) -> Result<(), Error> {
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_SIZE);
    let mut socket = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await?;
    let mut membership = Membership::default();
    loop {
        let message = tokio::select! {
            message = socket.next() => message,
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
