//! The game on fastwebsockets and serde_json, as one would write it by hand: a task reads and answers, and a member of
//! the room has a second task that writes its pushes.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use fastwebsockets::{
    FragmentCollectorRead, Frame, OpCode, Payload, WebSocketError, WebSocketWrite, upgrade::UpgradeFut,
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use peers::game::{self, Step};
use peers::room::Room;
use peers::{listening, upgrading};
use tokio::io::WriteHalf;
use tokio::sync::{Mutex, mpsc};

static ROOM: Room = Room::new();

type Writer = Arc<Mutex<WebSocketWrite<WriteHalf<TokioIo<Upgraded>>>>>;

#[tokio::main]
async fn main() -> io::Result<()> {
    listening::listen(|stream| upgrading::serve(stream, run)).await
}

async fn run(upgraded: UpgradeFut) {
    // It ends with an error when the client cuts the connection.
    let _ = play(upgraded).await;
}

async fn play(upgraded: UpgradeFut) -> Result<(), WebSocketError> {
    let (reader, writer) = upgraded.await?.split(tokio::io::split);
    let mut reader = FragmentCollectorRead::new(reader);
    let writer = Arc::new(Mutex::new(writer));
    let mut membership = None;
    let ended = loop {
        let control = |frame| {
            let writer = Arc::clone(&writer);
            async move { writer.lock().await.write_frame(frame).await }
        };
        let frame = match reader.read_frame(&mut { control }).await {
            Ok(frame) => frame,
            Err(error) => break Err(error),
        };
        let answer = match frame.opcode {
            OpCode::Text => match game::handle(str::from_utf8(&frame.payload).unwrap_or_default()) {
                Step::Answer(answer) => answer,
                Step::Join(answer) => {
                    membership.get_or_insert_with(|| tokio::spawn(deliver(ROOM.join(), Arc::clone(&writer))));
                    answer
                }
                Step::Push(push) => {
                    ROOM.send(&Bytes::from(push));
                    continue;
                }
            },
            OpCode::Close => break Ok(()),
            _ => continue,
        };
        if let Err(error) = writer.lock().await.write_frame(Frame::text(Payload::Owned(answer.into_bytes()))).await {
            break Err(error);
        }
    };
    if let Some(membership) = membership {
        membership.abort();
    }
    ended
}

/// Writes the pushes of a member.
async fn deliver(mut pushes: mpsc::Receiver<Bytes>, writer: Writer) {
    while let Some(push) = pushes.recv().await {
        let frame = Frame::text(Payload::Borrowed(&push));
        if writer.lock().await.write_frame(frame).await.is_err() {
            return;
        }
    }
}
