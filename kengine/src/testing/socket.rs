//! A client's end of a connection: it sends frames, and collects what the server sends.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use fastwebsockets::OpCode;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::time::{Instant, sleep};

use crate::testing::returning::ClientSession;
use crate::testing::wire;
use crate::websocket::{Close, CloseCode, Message};

/// The default timeout of a wait.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The default timeout of a wait while tokio's clock runs faster than real time, as it does when it is paused.
const TIMEOUT_WHILE_PAUSED: Duration = Duration::from_secs(24 * 60 * 60);
/// The most bytes to read at once.
const READ: usize = 4 * 1024;

/// A client's end of an in-memory connection.
pub(super) struct ClientSocket {
    stream: DuplexStream,
    /// Frames that the server has not taken yet.
    out: Vec<u8>,
    /// The start of an incomplete frame.
    received: Vec<u8>,
    /// Messages that have not been taken yet.
    texts: VecDeque<String>,
    binaries: VecDeque<Vec<u8>>,
    /// Whether a close frame was sent. Nothing may follow it.
    is_closing: bool,
    end: Option<End>,
    /// The number of the last ping, and of the last ping that was answered.
    pinged: u64,
    ponged: u64,
    /// `None` selects the default, which depends on the clock.
    timeout: Option<Duration>,
    /// Tells the server whether this client hangs.
    hangs: Arc<AtomicBool>,
    /// Present if the client can resume its session, and whether the first message of this connection has come.
    session: Option<(ClientSession, bool)>,
}

/// How the connection ended.
#[derive(Clone)]
pub(super) enum End {
    Closed(Option<Close>),
    Lost,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(Some(close)) => {
                write!(f, "closed with {} {:?}", close.code().get(), close.reason())
            }
            Self::Closed(None) => f.write_str("closed without a code"),
            Self::Lost => f.write_str("lost without a close frame"),
        }
    }
}

/// Whether the server's pings are answered during a wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pings {
    Answered,
    Ignored,
}

impl ClientSocket {
    pub(super) fn new(stream: DuplexStream, hangs: Arc<AtomicBool>) -> Self {
        Self {
            stream,
            out: Vec::new(),
            received: Vec::new(),
            texts: VecDeque::new(),
            binaries: VecDeque::new(),
            is_closing: false,
            end: None,
            pinged: 0,
            ponged: 0,
            timeout: None,
            hangs,
            session: None,
        }
    }

    /// Begins a session that can be resumed, or goes on with one, and what it has received. Returns when the server has
    /// answered.
    pub(super) async fn begin(&mut self, session: ClientSession, texts: VecDeque<String>, binaries: VecDeque<Vec<u8>>) {
        (self.session, self.texts, self.binaries) = (Some((session, false)), texts, binaries);
        // If the connection has ended already, the test sees that.
        let _ = self
            .wait("the first message", |socket| socket.session.as_ref().filter(|session| session.1).map(drop))
            .await;
        self.send_queued().await;
    }

    /// Whether the session goes on that the client wanted to resume.
    pub(super) fn resumed(&self) -> Option<bool> {
        self.session.as_ref().and_then(|(session, _)| session.resumed())
    }

    /// Drops the connection, and returns the session and what it has received.
    pub(super) fn cut(self) -> Option<(ClientSession, VecDeque<String>, VecDeque<Vec<u8>>)> {
        let (session, _) = self.session?;
        Some((session, self.texts, self.binaries))
    }

    /// Tells the server whether this client hangs.
    pub(super) fn hang(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::Relaxed);
    }

    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    /// Panics if nothing can be sent, which is a mistake in the test.
    pub(super) fn assert_open(&self, what: &str) {
        if let Some(end) = &self.end {
            panic!("cannot send {what}; the connection has ended: {end}");
        }
        assert!(!self.is_closing, "cannot send {what}; this client has closed the connection");
    }

    /// Queues a frame and waits until the server has taken all of it. Meanwhile it reads, because two sides that only
    /// write would wait for each other.
    pub(super) async fn send(&mut self, opcode: OpCode, payload: &[u8]) {
        if self.is_closing || self.end.is_some() {
            return;
        }
        self.is_closing = matches!(opcode, OpCode::Close);
        let start = self.out.len();
        wire::put(&mut self.out, opcode, payload);
        if let (Some((session, _)), OpCode::Text | OpCode::Binary) = (&mut self.session, opcode) {
            session.send(payload, &self.out[start..]);
        }
        self.send_queued().await;
    }

    /// Waits until the server has taken everything that is queued.
    async fn send_queued(&mut self) {
        poll_fn(|cx| {
            while self.poll_write(cx).is_pending() {
                if self.end.is_some() || self.poll_read(cx, Pings::Answered).is_pending() {
                    return if self.end.is_some() { Poll::Ready(()) } else { Poll::Pending };
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Sends a ping and waits for its pong.
    pub(super) async fn ping(&mut self) -> Result<(), End> {
        self.pinged += 1;
        let number = self.pinged;
        self.send(OpCode::Ping, &number.to_be_bytes()).await;
        self.wait("a pong", |socket| (socket.ponged >= number).then_some(())).await
    }

    /// Takes the first text message for which `look` returns something.
    pub(super) async fn take_text<T>(&mut self, what: &str, look: impl Fn(&str) -> Option<T>) -> Result<T, End> {
        let mut seen = 0;
        let next = |socket: &mut Self| {
            while let Some(text) = socket.texts.get(seen) {
                if let Some(found) = look(text) {
                    socket.texts.remove(seen);
                    return Some(found);
                }
                seen += 1;
            }
            None
        };
        self.wait(what, next).await
    }

    /// Takes the first binary message.
    pub(super) async fn take_binary(&mut self) -> Result<Vec<u8>, End> {
        self.wait("a binary message", |socket| socket.binaries.pop_front()).await
    }

    /// Waits for the end of the connection.
    pub(super) async fn ended(&mut self, pings: Pings) -> End {
        poll_fn(|cx| {
            loop {
                if let Some(end) = &self.end {
                    return Poll::Ready(end.clone());
                }
                if self.poll_read(cx, pings).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// Reads until `look` returns something.
    ///
    /// # Panics
    ///
    /// When the timeout has passed.
    async fn wait<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> Result<T, End> {
        let mut expired = pin!(expired(self.timeout));
        poll_fn(|cx| {
            loop {
                if let Some(found) = look(self) {
                    return Poll::Ready(Ok(found));
                }
                if let Some(end) = &self.end {
                    return Poll::Ready(Err(end.clone()));
                }
                if self.poll_read(cx, Pings::Answered).is_pending() {
                    return expired.as_mut().poll(cx).map(|waited| {
                        let last = self.texts.back().map_or("none", String::as_str);
                        panic!("{what} did not come within {waited:?}; the last other text is {last}")
                    });
                }
            }
        })
        .await
    }

    /// Writes what is queued. A failed write is not an error: the server's close frame may still wait to be read.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.out.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.out) {
                Poll::Ready(Ok(written)) => drop(self.out.drain(..written)),
                Poll::Ready(Err(_)) => self.out.clear(),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    /// Reads once, and answers pings.
    fn poll_read(&mut self, cx: &mut Context<'_>, pings: Pings) -> Poll<()> {
        // A send that was cancelled may have left bytes to write.
        let _ = self.poll_write(cx);
        let mut buffer = [0; READ];
        let mut buffer = ReadBuf::new(&mut buffer);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                self.received.extend_from_slice(buffer.filled());
                while self.end.is_none()
                    && let Some((opcode, payload)) = wire::take(&mut self.received)
                {
                    self.receive(opcode, payload, pings);
                }
                let _ = self.poll_write(cx);
            }
            Poll::Ready(_) => self.end = Some(End::Lost),
        }
        Poll::Ready(())
    }

    fn receive(&mut self, opcode: u8, payload: Vec<u8>, pings: Pings) {
        const TEXT: u8 = OpCode::Text as u8;
        const BINARY: u8 = OpCode::Binary as u8;
        const PING: u8 = OpCode::Ping as u8;
        const PONG: u8 = OpCode::Pong as u8;
        const CLOSE: u8 = OpCode::Close as u8;
        match opcode {
            TEXT => {
                let text = String::from_utf8(payload).expect("the server sends texts in UTF-8");
                let is_for_test = match &mut self.session {
                    None => true,
                    Some((session, has_begun @ false)) => {
                        *has_begun = true;
                        session.begin(&text, &mut self.out);
                        false
                    }
                    Some((session, true)) => session.receive(Message::Text(&text), &mut self.out),
                };
                if is_for_test {
                    self.texts.push_back(text);
                }
            }
            BINARY => {
                if let Some((session, _)) = &mut self.session {
                    session.receive(Message::Binary(&payload), &mut self.out);
                }
                self.binaries.push_back(payload);
            }
            PING if pings == Pings::Answered && !self.is_closing => {
                wire::put(&mut self.out, OpCode::Pong, &payload);
            }
            PONG => {
                let number = payload.try_into().expect("a pong repeats the payload of its ping");
                self.ponged = u64::from_be_bytes(number);
            }
            CLOSE => {
                let code = payload.first_chunk().and_then(|code| CloseCode::new(u16::from_be_bytes(*code)));
                if !self.is_closing {
                    // A server that waits for this, because the client has hung, closes the socket then.
                    self.is_closing = true;
                    wire::put(&mut self.out, OpCode::Close, payload.get(..2).unwrap_or_default());
                }
                let close = code.map(|code| Close::new(code, String::from_utf8_lossy(&payload[2..]).into_owned()));
                self.end = Some(End::Closed(close));
            }
            _ => {}
        }
    }
}

impl fmt::Debug for ClientSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSocket").field("end", &self.end.as_ref().map(End::to_string)).finish_non_exhaustive()
    }
}

/// Waits until the timeout has passed, and returns how long that took by tokio's clock.
async fn expired(timeout: Option<Duration>) -> Duration {
    let (begun, begun_in_real_time) = (Instant::now(), std::time::Instant::now());
    loop {
        sleep(timeout.unwrap_or(TIMEOUT)).await;
        let waited = begun.elapsed();
        if timeout.is_some() || begun_in_real_time.elapsed() >= TIMEOUT || waited >= TIMEOUT_WHILE_PAUSED {
            return waited;
        }
    }
}
