//! A socket that does not block, and one read buffer for all of them.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;
use mio::{Interest, Poll, Token};

/// How much is read at once, in bytes. When less comes, nothing is left, so that no second read is needed.
pub const READ_SIZE: usize = 64 * 1024;

/// Registers a socket for what comes.
pub fn register(poll: &Poll, token: usize, stream: std::net::TcpStream) -> io::Result<TcpStream> {
    stream.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(stream);
    poll.registry().register(&mut stream, Token(token), Interest::READABLE)?;
    Ok(stream)
}

/// Reads until nothing is left, and hands on each piece. An empty piece is the end of the stream.
pub fn read(
    stream: &mut TcpStream,
    buffer: &mut [u8],
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    loop {
        match stream.read(buffer) {
            Ok(len) => {
                take(&buffer[..len])?;
                if len == 0 || len < buffer.len() {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes a request as a whole. Every request of the load fits into the buffers of the kernel.
pub fn write(stream: &mut TcpStream, request: &[u8]) -> io::Result<()> {
    match stream.write(request) {
        Ok(len) if len == request.len() => Ok(()),
        Ok(_) => Err(io::Error::other("a request did not fit into the buffers of the kernel")),
        Err(error) => Err(error),
    }
}
