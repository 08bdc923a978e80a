//! A WebSocket client without a library, so that tests decide every byte.

use std::{fmt, io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::TcpStream,
};

use crate::{ClientFrame, HttpClient, Upgrade, summary, within};

/// How many times in a row, a millisecond apart, the kernel may refuse bytes until the server counts as not reading.
const PATIENCE: u32 = 1000;

/// A WebSocket client whose bytes the test decides.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    unread: Vec<u8>,
    /// Bytes that the kernel has not taken yet; see [`RawClient::send_while_taken`] and [`RawClient::send_soon`].
    unsent: Vec<u8>,
}

/// A frame of the server. Reading it checked that it is unmasked and has no reserved bit set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFrame {
    /// The opcode (RFC 6455, section 5.2).
    pub opcode: u8,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The server closed its side of TCP.
    Closed,
    /// The server reset TCP.
    Reset,
}

impl RawClient {
    /// Connects and does the handshake.
    pub async fn connect(address: SocketAddr) -> Self {
        let mut http = HttpClient::connect(address).await;
        let response = http.request(&Upgrade::new(address).bytes()).await;
        assert_eq!(response.status, 101, "the handshake: {response:?}");
        http.into_websocket()
    }

    pub(crate) fn new(stream: TcpStream, unread: Vec<u8>) -> Self {
        Self { stream, unread, unsent: Vec::new() }
    }

    /// Writes bytes at once, after the bytes that the kernel has not taken yet.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.unsent.extend(bytes.as_ref());
        within("a write", self.stream.write_all(&self.unsent)).await.expect("a server that reads");
        self.unsent.clear();
    }

    /// Writes bytes without waiting. What the kernel does not take is written while frames are read.
    pub fn send_soon(&mut self, bytes: impl AsRef<[u8]>) {
        self.unsent.extend(bytes.as_ref());
        if let Ok(written) = self.stream.try_write(&self.unsent) {
            self.unsent.drain(..written);
        }
    }

    /// Writes frames at once.
    pub async fn send_frames(&mut self, frames: impl IntoIterator<Item = ClientFrame>) {
        self.send(crate::segment(frames)).await;
    }

    /// Sends a heartbeat, whose answer must come next: everything before it was handled, and nothing else has come.
    pub async fn heartbeat(&mut self) {
        self.send_frames([ClientFrame::text("p")]).await;
        assert_eq!(self.frame().await, "q", "instead of the answer to a heartbeat");
    }

    /// Writes bytes one by one, each in a packet of its own.
    pub async fn send_bytewise(&mut self, bytes: impl AsRef<[u8]>) {
        for byte in bytes.as_ref() {
            self.send([*byte]).await;
            // Gives the server a chance to read the byte alone.
            tokio::task::yield_now().await;
        }
    }

    /// Writes up to `most` frames and reads nothing; stops when the server has not read for a while. Returns how many
    /// frames were begun. The rest of the last one is written while frames are read.
    pub async fn send_while_taken(&mut self, most: usize, frame: impl Fn(usize) -> ClientFrame) -> usize {
        let mut sent = 0;
        let mut refused = 0;
        while sent < most || !self.unsent.is_empty() {
            if self.unsent.is_empty() {
                self.unsent = frame(sent).bytes();
                sent += 1;
            }
            match self.stream.try_write(&self.unsent) {
                Ok(written) => {
                    self.unsent.drain(..written);
                    refused = 0;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && refused < PATIENCE => {
                    refused += 1;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("while the frames were written: {error}"),
            }
        }
        sent
    }

    /// Closes the writing side; reading goes on.
    pub async fn stop_writing(&mut self) {
        self.stream.shutdown().await.expect("a socket to shut down");
    }

    /// Resets the connection.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(std::time::Duration::ZERO)).expect("a socket that can be reset");
    }

    /// Reads the next frame.
    ///
    /// # Errors
    ///
    /// Returns the end of the connection, if no frame comes before it.
    pub async fn next(&mut self) -> Result<ServerFrame, End> {
        let next = self.next_or_cut().await;
        if next == Err(End::Closed) {
            assert!(self.unread.is_empty(), "TCP ended inside a frame: {:?}", self.unread);
        }
        next
    }

    /// Reads the next frame. The connection may end inside it. A call that is cancelled loses nothing.
    ///
    /// # Errors
    ///
    /// Returns the end of the connection, if no whole frame comes before it.
    pub async fn next_or_cut(&mut self) -> Result<ServerFrame, End> {
        loop {
            if let Some((frame, length)) = ServerFrame::parse(&self.unread) {
                self.unread.drain(..length);
                if self.unread.is_empty() {
                    // Tests measure the memory of their process, in which a client that waits takes none.
                    self.unread = Vec::new();
                }
                return Ok(frame);
            }
            match within("a frame of the server", self.read()).await {
                Ok(0) => return Err(End::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(End::Reset),
                Err(error) => panic!("while a frame was awaited: {error}"),
            }
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        while !self.unsent.is_empty() {
            let interest = self.stream.ready(Interest::READABLE | Interest::WRITABLE).await?;
            if interest.is_writable() {
                match self.stream.try_write(&self.unsent) {
                    Ok(written) => _ = self.unsent.drain(..written),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // The connection has ended. What came before its end is still read.
                    Err(_) => self.unsent.clear(),
                }
            }
            if interest.is_readable() {
                break;
            }
        }
        self.stream.read_buf(&mut self.unread).await
    }

    /// Reads the next frame and returns it in short; see [`ServerFrame`]'s `Display`.
    pub async fn frame(&mut self) -> String {
        match self.next().await {
            Ok(frame) => frame.to_string(),
            Err(end) => end.to_string(),
        }
    }

    /// Writes bytes at once to a server that may have ended the connection, and ignores a failure. Earlier frames can
    /// still be read.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        self.unsent.extend(bytes.as_ref());
        let _ = within("a write", self.stream.write_all(&self.unsent)).await;
        self.unsent.clear();
    }

    /// Writes a text and returns the next frame, or the end, in short.
    pub async fn ask(&mut self, text: impl AsRef<[u8]>) -> String {
        self.try_send(ClientFrame::text(text).bytes()).await;
        self.frame().await
    }

    /// Reads this many frames and returns them in short.
    pub async fn frames(&mut self, count: usize) -> Vec<String> {
        let mut frames = Vec::new();
        for _ in 0..count {
            frames.push(self.frame().await);
        }
        frames
    }

    /// Reads to the end of TCP and returns everything in short. Answers nothing.
    pub async fn transcript(&mut self) -> Vec<String> {
        let mut transcript = Vec::new();
        loop {
            match self.next().await {
                Ok(frame) => transcript.push(frame.to_string()),
                Err(end) => {
                    transcript.push(end.to_string());
                    return transcript;
                }
            }
        }
    }

    /// Answers the server's close frame and waits for the end of TCP, before which nothing else may come.
    pub async fn answer_close(&mut self, code: u16) {
        self.send_frames([ClientFrame::close(code, "")]).await;
        assert_eq!(self.transcript().await, [End::Closed.to_string()], "after the close handshake");
    }
}

impl ServerFrame {
    /// Returns the frame at the start of `bytes` and its length, if it is complete.
    fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        assert_eq!(first & 0xf0, 0x80, "the server fragments, or sets reserved bits: {first:#x}");
        assert_eq!(second & 0x80, 0, "the server masks");
        let (length, header) = match second {
            126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
            127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
            short => (u64::from(short), 2),
        };
        let shortest = match length {
            0..=125 => 2,
            126..=0xffff => 4,
            _ => 10,
        };
        assert_eq!(header, shortest, "the length {length} has a shorter form");
        let end = header + usize::try_from(length).expect("a length of this machine");
        let payload = bytes.get(header..end)?.to_vec();
        Some((Self { opcode: first & 0x0f, payload }, end))
    }

    /// Returns the code and the reason of a close frame that has them.
    pub fn close(&self) -> Option<(u16, &str)> {
        let (code, reason) = self.payload.split_first_chunk()?;
        let reason = std::str::from_utf8(reason).expect("a reason in UTF-8");
        (self.opcode == 0x8).then_some((u16::from_be_bytes(*code), reason))
    }
}

/// Shows a frame in short: a text as its [`summary`], `binary "…"`, `ping "…"`, `pong "…"`, `close 1000` or `close`.
impl fmt::Display for ServerFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payload = String::from_utf8_lossy(&self.payload);
        match self.opcode {
            0x1 => f.write_str(&summary(std::str::from_utf8(&self.payload).expect("a text in UTF-8"))),
            0x2 => write!(f, "binary {payload:?}"),
            0x8 => match self.close() {
                Some((code, _)) => write!(f, "close {code}"),
                None if self.payload.is_empty() => f.write_str("close"),
                None => write!(f, "close with one byte"),
            },
            0x9 => write!(f, "ping {payload:?}"),
            0xa => write!(f, "pong {payload:?}"),
            other => write!(f, "opcode {other:#x} {payload:?}"),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "end of TCP",
            Self::Reset => "reset of TCP",
        })
    }
}
