//! The game on sockudo-ws. Its stream writes the answers that wait when it waits for the client.

use std::io;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use peers::game::{self, Step};
use peers::handshake;
use peers::listening;
use peers::room::{Membership, Room};
use sockudo_ws::{Config, Error, Message, WebSocketStream};
use tokio::net::TcpStream;

static ROOM: Room = Room::new();

#[tokio::main]
async fn main() -> io::Result<()> {
    listening::listen(async |stream| {
        // It ends with an error when the client cuts the connection.
        let _ = play(stream).await;
    })
    .await
}

async fn play(mut stream: TcpStream) -> Result<(), Error> {
    handshake::answer(&mut stream).await?;
    let mut socket = WebSocketStream::server(stream, Config::default());
    let mut membership = Membership::default();
    loop {
        let message = tokio::select! {
            message = socket.next() => message,
            push = membership.next() => {
                socket.feed(Message::Text(push)).await?;
                continue;
            }
        };
        let answer = match message.transpose()? {
            Some(Message::Text(message)) => match game::handle(str::from_utf8(&message).unwrap_or_default()) {
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
        socket.feed(Message::text(answer)).await?;
    }
}
