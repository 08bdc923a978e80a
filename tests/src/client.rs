//! A well-behaved client, built on tokio-tungstenite.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message,
        error::ProtocolError,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use crate::{Lobby, summary, within};

/// A well-behaved client. It answers pings and close frames while it reads.
#[derive(Debug)]
pub struct Client {
    socket: WebSocketStream<TcpStream>,
}

impl Client {
    /// Connects to `/ws`.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::connect_to(address, "/ws").await
    }

    /// Connects to this path, which may have a query.
    pub async fn connect_to(address: SocketAddr, path: &str) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await.expect("a server that listens");
        stream.set_nodelay(true).expect("a TCP socket");
        let handshake = within("a handshake", client_async(format!("ws://{address}{path}"), stream)).await;
        Self { socket: handshake.expect("a connection").0 }
    }

    /// Returns this side's address, as the server sees it.
    pub fn local_address(&self) -> SocketAddr {
        self.socket.get_ref().local_addr().expect("a socket")
    }

    /// Sends a message.
    pub async fn send(&mut self, message: impl Into<Message>) {
        within("a write", self.socket.send(message.into())).await.expect("a server that reads");
    }

    /// Returns the next event in short: a text as its [`summary`], `binary "…"`, `ping "…"`, `pong "…"`, `close 1000`,
    /// `close`, or `the end`.
    pub async fn next(&mut self) -> String {
        let shown = |payload: &[u8]| String::from_utf8_lossy(payload).into_owned();
        match within("a message of the server", self.socket.next()).await {
            Some(Ok(Message::Text(text))) => summary(&text),
            Some(Ok(Message::Binary(bytes))) => format!("binary {:?}", shown(&bytes)),
            Some(Ok(Message::Ping(payload))) => format!("ping {:?}", shown(&payload)),
            Some(Ok(Message::Pong(payload))) => format!("pong {:?}", shown(&payload)),
            Some(Ok(Message::Close(Some(close)))) => format!("close {}", u16::from(close.code)),
            Some(Ok(Message::Close(None))) => "close".to_owned(),
            Some(Ok(Message::Frame(_))) => unreachable!("only written, never read"),
            None | Some(Err(Error::ConnectionClosed)) => "the end".to_owned(),
            Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => {
                "the end without a close".to_owned()
            }
            Some(Err(error)) => format!("failed: {error}"),
        }
    }

    /// Sends a message and returns what comes next.
    pub async fn ask(&mut self, message: impl Into<Message>) -> String {
        self.send(message).await;
        self.next().await
    }

    /// Sends a message and then [`Lobby::FENCE`], and returns everything that comes before the fence's answer. An empty
    /// result proves that the message had no answer, without a timeout, and that the connection is alive.
    pub async fn answers_to(&mut self, message: impl Into<Message>) -> Vec<String> {
        self.answers_before(message, Lobby::FENCE).await
    }

    /// Like [`Client::answers_to`] with another fence: a request with the id `"fence"` that is answered.
    pub async fn answers_before(&mut self, message: impl Into<Message>, fence: &str) -> Vec<String> {
        self.send(message).await;
        self.answers_until(fence).await
    }

    /// Sends only the fence and returns everything that comes before its answer.
    pub async fn answers_until(&mut self, fence: &str) -> Vec<String> {
        self.send(fence).await;
        let mut answers = Vec::new();
        loop {
            let answer = self.next().await;
            if answer.starts_with("\"fence\": ") {
                assert!(!answer.contains(": error "), "the fence itself: {answer}");
                return answers;
            }
            let ended = answer.starts_with("the end") || answer.starts_with("failed");
            answers.push(answer);
            assert!(!ended, "the connection ended: {answers:?}");
        }
    }

    /// Closes the connection with this code.
    pub async fn close(&mut self, code: u16) {
        let close = CloseFrame { code: CloseCode::from(code), reason: "".into() };
        within("a close", self.socket.close(Some(close))).await.expect("an open connection");
    }
}
