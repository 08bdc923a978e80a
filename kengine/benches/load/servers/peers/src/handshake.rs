//! A handshake without an HTTP server.

use std::io::{Error, ErrorKind};

use bytes::BytesMut;
use sockudo_ws::handshake::{build_response, generate_accept_key, parse_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest request, in bytes.
const MAX_REQUEST_SIZE: usize = 4096;

/// Answers the request for a WebSocket.
pub async fn answer(stream: &mut TcpStream) -> Result<(), sockudo_ws::Error> {
    let mut request = BytesMut::with_capacity(1024);
    loop {
        if stream.read_buf(&mut request).await? == 0 || request.len() > MAX_REQUEST_SIZE {
            return Err(Error::from(ErrorKind::InvalidData).into());
        }
        if let Some((request, _)) = parse_request(&request)? {
            let response = build_response(&generate_accept_key(request.key), None, None);
            return Ok(stream.write_all(&response).await?);
        }
    }
}
