//! A client whose socket blocks: it opens connections before a measurement, and makes the idle ones.

use std::io::{self, Error, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use crate::wire::{self, Dialect, Exchange};

/// How long a server may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest response to a handshake, in bytes.
const MAX_RESPONSE_SIZE: usize = 4096;
const SWITCHING_PROTOCOLS: &[u8] = b"HTTP/1.1 101 ";

/// Opens a connection, with the handshake.
pub fn connect(port: u16, dialect: Dialect, uid: &str) -> io::Result<TcpStream> {
    let mut stream = connect_tcp(port)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    if let Some(request) = dialect.handshake(uid) {
        stream.write_all(request.as_bytes())?;
        let mut response = [0; MAX_RESPONSE_SIZE];
        let len = loop {
            let peeked = stream.peek(&mut response)?;
            match response_len(&response[..peeked])? {
                Some(len) => break len,
                None if peeked == 0 => return Err(Error::other("the server closed during the handshake")),
                None => {}
            }
        };
        stream.read_exact(&mut response[..len])?;
    }
    if dialect == Dialect::SocketIo {
        // Engine.IO opens, the client enters the default namespace of Socket.IO, and the server pings at once.
        read_text(&mut stream)?;
        stream.write_all(&wire::client_text("40"))?;
        let replies = [read_text(&mut stream)?, read_text(&mut stream)?];
        if !replies.iter().any(|reply| reply == b"2") {
            return Err(Error::other("socketioxide sent no ping"));
        }
        stream.write_all(&wire::client_text("3"))?;
    }
    Ok(stream)
}

/// Opens a TCP connection.
pub fn connect_tcp(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Returns the length of the response to a handshake if it is complete.
///
/// # Errors
///
/// It refuses the handshake.
pub fn response_len(bytes: &[u8]) -> io::Result<Option<usize>> {
    if bytes.len() >= SWITCHING_PROTOCOLS.len() && !bytes.starts_with(SWITCHING_PROTOCOLS) {
        return Err(Error::other(format!("the handshake failed: {}", String::from_utf8_lossy(bytes))));
    }
    Ok(bytes.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4))
}

/// Sends a request, and reads its answer.
pub fn ask(stream: &mut TcpStream, exchange: &Exchange) -> io::Result<()> {
    send(stream, exchange)?;
    expect(stream, exchange)
}

/// Sends a request.
pub fn send(stream: &mut TcpStream, exchange: &Exchange) -> io::Result<()> {
    stream.write_all(&exchange.request)
}

/// Reads the answer of a request.
pub fn expect(stream: &mut TcpStream, exchange: &Exchange) -> io::Result<()> {
    let mut answer = vec![0; exchange.answer.len()];
    stream.read_exact(&mut answer)?;
    if answer == exchange.answer {
        Ok(())
    } else {
        Err(Error::other(format!("unexpected answer {:?}", String::from_utf8_lossy(&answer))))
    }
}

/// Reads a frame of up to 64 KiB.
fn read_text(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let mut len = usize::from(head[1]);
    if len >= 126 {
        stream.read_exact(&mut head)?;
        len = usize::from(u16::from_be_bytes(head));
    }
    let mut text = vec![0; len];
    stream.read_exact(&mut text)?;
    Ok(text)
}
