//! fastwebsockets sends each message back, without JSON: the reference for answers.

use std::io;

use fastwebsockets::{FragmentCollector, Frame, OpCode, WebSocketError, upgrade::UpgradeFut};
use peers::{listening, upgrading};

#[tokio::main]
async fn main() -> io::Result<()> {
    listening::listen(|stream| upgrading::serve(stream, run)).await
}

async fn run(upgraded: UpgradeFut) {
    // It ends with an error when the client cuts the connection.
    let _ = echo(upgraded).await;
}

async fn echo(upgraded: UpgradeFut) -> Result<(), WebSocketError> {
    let mut socket = FragmentCollector::new(upgraded.await?);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            // A new frame, because the one that was read still has the client's mask.
            OpCode::Text => socket.write_frame(Frame::text(frame.payload)).await?,
            OpCode::Binary => socket.write_frame(Frame::binary(frame.payload)).await?,
            _ => {}
        }
    }
}
