//! A client whose socket blocks: it opens connections before a measurement, and makes the idle ones.

use std::io::{self, Error, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use crate::wire::{self, Dialect, Exchange, Progress};

/// How long a server may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest response to a handshake, in bytes.
const MAX_RESPONSE_SIZE: usize = 4096;
const SWITCHING_PROTOCOLS: &[u8] = b"HTTP/1.1 101 ";

/// A client, and what has come.
#[derive(Debug)]
pub struct Client {
    pub stream: TcpStream,
    pub progress: Progress,
}

/// Opens a connection, with the handshake.
pub fn connect(port: u16, dialect: Dialect, uid: &str) -> io::Result<Client> {
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
    if dialect == Dialect::Resuming && !read_text(&mut stream)?.starts_with(br#"{"resume":"#) {
        return Err(Error::other("the session cannot be resumed"));
    }
    Ok(Client { stream, progress: Progress::new(dialect) })
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

impl Client {
    /// Sends a request, and reads its answer.
    pub fn ask(&mut self, exchange: &Exchange) -> io::Result<()> {
        self.send(exchange)?;
        self.expect(exchange)
    }

    /// Sends a request, after the acknowledgement that the client must send.
    pub fn send(&mut self, exchange: &Exchange) -> io::Result<()> {
        match self.progress.acknowledgement() {
            Some(acknowledgement) => self.stream.write_all(&[acknowledgement, exchange.request.clone()].concat()),
            None => self.stream.write_all(&exchange.request),
        }
    }

    /// Sends the acknowledgement that the client must send.
    pub fn acknowledge(&mut self) -> io::Result<()> {
        self.progress.acknowledgement().map_or(Ok(()), |acknowledgement| self.stream.write_all(&acknowledgement))
    }

    /// Reads the answer of a request. Nothing may follow.
    pub fn expect(&mut self, exchange: &Exchange) -> io::Result<()> {
        let mut buffer = vec![0; exchange.answer.len().max(MAX_RESPONSE_SIZE)];
        loop {
            let read = self.stream.read(&mut buffer)?;
            if read == 0 {
                return Err(Error::other("the server closed instead of answering"));
            }
            match self.progress.take(&buffer[..read], &exchange.answer).map_err(Error::other)? {
                0 => {}
                1 => return Ok(()),
                more => return Err(Error::other(format!("{more} answers came instead of one"))),
            }
        }
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
