//! A client that resumes its session, written after `guide::protocol` alone.

use std::{collections::VecDeque, net::SocketAddr};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{ClientFrame, End, RawClient, ServerFrame, Upgrade, segment, summary, within};

/// The subprotocol of such a client.
pub const RESUME: &str = "kengine.v1.resume.json";

/// A client that counts what it receives, keeps what the server has not acknowledged, and comes back.
#[derive(Debug)]
pub struct ReturningClient {
    server: SocketAddr,
    /// The path of the WebSocket, with a query.
    path: String,
    socket: Option<RawClient>,
    token: String,
    within: u64,
    received: u64,
    /// How many messages precede those in `unacknowledged`.
    before: u64,
    unacknowledged: VecDeque<String>,
    /// Messages that came before the one that was awaited.
    kept: VecDeque<String>,
    acknowledges: bool,
}

impl ReturningClient {
    /// Connects to `/ws` as this user, and begins a session.
    pub async fn connect(server: SocketAddr, uid: &str) -> Self {
        Self::connect_to(server, &format!("/ws?uid={uid}")).await
    }

    /// Connects to this path with a query, and begins a session.
    pub async fn connect_to(server: SocketAddr, path: &str) -> Self {
        let mut client = Self {
            server,
            path: path.to_owned(),
            socket: None,
            token: String::new(),
            within: 0,
            received: 0,
            before: 0,
            unacknowledged: VecDeque::new(),
            kept: VecDeque::new(),
            acknowledges: true,
        };
        let answer = client.open(path).await;
        assert_eq!(answer, json!({"resume": {"token": client.token, "within": client.within}}));
        client
    }

    /// Opens a socket at this path, and returns the first message.
    async fn open(&mut self, path: &str) -> Value {
        self.try_open(path).await.expect("a connection and its first message")
    }

    /// Opens a socket at this path, and returns the first message, unless the connection is cut before it has come.
    async fn try_open(&mut self, path: &str) -> Option<Value> {
        let request = Upgrade::new(self.server).path(path).with("Sec-WebSocket-Protocol", RESUME).bytes();
        let mut stream = within("a connection", TcpStream::connect(self.server)).await.ok()?;
        stream.set_nodelay(true).ok()?;
        within("a write", stream.write_all(&request)).await.ok()?;
        let mut response = Vec::new();
        let end = loop {
            if let Some(end) = response.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if within("a response", stream.read_buf(&mut response)).await.unwrap_or(0) == 0 {
                return None;
            }
        };
        let unread = response.split_off(end);
        assert!(response.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&response));
        let mut socket = RawClient::new(stream, unread);
        let first = socket.next_or_cut().await.ok()?;
        let answer: Value = serde_json::from_slice(&first.payload).expect("JSON");
        answer["resume"]["token"].as_str().expect("a token").clone_into(&mut self.token);
        self.within = answer["resume"]["within"].as_u64().expect("milliseconds");
        self.socket = Some(socket);
        Some(answer)
    }

    /// Comes back to this address from now on.
    pub fn come_back_to(&mut self, server: SocketAddr) {
        self.server = server;
    }

    /// Comes back with this path and query from now on.
    pub fn come_back_with(&mut self, path: &str) {
        path.clone_into(&mut self.path);
    }

    /// Returns the token for the next time.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Returns how many messages it has received.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Returns how many messages the server has not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.unacknowledged.len()
    }

    /// Acknowledges nothing from now on.
    pub fn stop_acknowledging(&mut self) {
        self.acknowledges = false;
    }

    /// Returns the socket.
    pub fn socket(&mut self) -> &mut RawClient {
        self.socket.as_mut().expect("a connection")
    }

    /// Takes the socket away, which stays open.
    pub fn leave_socket(&mut self) -> RawClient {
        self.socket.take().expect("a connection")
    }

    /// Closes TCP without a close frame.
    pub fn cut(&mut self) {
        drop(self.leave_socket());
    }

    /// Resets TCP.
    pub fn reset(&mut self) {
        self.leave_socket().reset();
    }

    /// Closes the connection with 1000, which ends the session. Everything that comes before the answer is dropped.
    pub async fn leave(&mut self) {
        self.socket().send_frames([ClientFrame::close(1000, "")]).await;
        while self.next().await.expect("a close frame") != "close 1000" {}
    }

    /// Returns the path with which it comes back.
    pub fn way_back(&self) -> String {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        format!("{}{separator}resume={}&received={}", self.path, self.token, self.received)
    }

    /// Comes back over a new socket, and sends again what the server lacks. Returns whether the session goes on;
    /// otherwise another one has begun.
    pub async fn come_back(&mut self) -> bool {
        self.try_come_back().await.expect("a connection and its first message")
    }

    /// Like [`ReturningClient::come_back`], but returns `None` if the connection is cut before its first message has
    /// come.
    pub async fn try_come_back(&mut self) -> Option<bool> {
        let path = self.way_back();
        let answer = self.try_open(&path).await?;
        let members = answer["resume"].as_object().expect("an object");
        let resumed = members["resumed"].as_bool().expect("whether it is resumed");
        assert_eq!(members.len(), if resumed { 4 } else { 3 }, "{answer}");
        if resumed {
            let received = members["received"].as_u64().expect("a count");
            self.forget(received);
            let again = segment(self.unacknowledged.iter().map(ClientFrame::text));
            self.socket().try_send(again).await;
        } else {
            (self.received, self.before) = (0, 0);
            self.unacknowledged.clear();
        }
        Some(resumed)
    }

    fn forget(&mut self, received: u64) {
        let sent = self.before + self.unacknowledged.len() as u64;
        assert!((self.before..=sent).contains(&received), "{received} of {} to {sent}", self.before);
        self.unacknowledged.drain(..usize::try_from(received - self.before).expect("a count"));
        self.before = received;
    }

    /// Sends a message, or keeps it until it comes back.
    pub async fn send(&mut self, text: impl Into<String>) {
        let text = text.into();
        if let Some(socket) = &mut self.socket {
            socket.try_send(ClientFrame::text(&text).bytes()).await;
        }
        self.unacknowledged.push_back(text);
    }

    /// Sends the start of a message's frame: as many bytes as `length` chooses out of all of them. Then it must come
    /// back.
    pub async fn send_start(&mut self, text: impl Into<String>, length: impl FnOnce(usize) -> usize) {
        let text = text.into();
        let bytes = ClientFrame::text(&text).bytes();
        let length = length(bytes.len());
        self.socket().try_send(&bytes[..length]).await;
        self.unacknowledged.push_back(text);
    }

    /// Sends a request with this id.
    pub async fn request(&mut self, route: &str, message: impl Into<Value>, id: u64) {
        self.send(json!({"method": route, "message": message.into(), "id": id}).to_string()).await;
    }

    /// Sends a request with this id and waits for its answer, in short. Everything else that comes is kept.
    pub async fn ask(&mut self, route: &str, message: impl Into<Value>, id: u64) -> String {
        self.request(route, message, id).await;
        self.answer(id).await
    }

    /// Waits for the answer to a request, and returns it in short. Everything else that comes is kept.
    pub async fn answer(&mut self, id: u64) -> String {
        let start = format!("{id}: ");
        loop {
            let at = self.kept.iter().position(|text| text.starts_with(&start));
            if let Some(answer) = at.and_then(|at| self.kept.remove(at)) {
                return answer;
            }
            let text = self.read().await.unwrap_or_else(|end| panic!("the end instead of an answer: {end:?}"));
            self.kept.push_back(text);
        }
    }

    /// Returns the next message in short. A call that is cancelled loses nothing.
    ///
    /// # Errors
    ///
    /// Returns the end of the connection, if no message comes before it.
    pub async fn next(&mut self) -> Result<String, End> {
        match self.kept.pop_front() {
            Some(text) => Ok(text),
            None => self.read().await,
        }
    }

    /// Waits for a message that begins so. There must be no other before.
    pub async fn expect(&mut self, text: &str) {
        let next = self.next().await;
        assert_eq!(next.as_deref(), Ok(text));
    }

    /// Reads the next message that is not an acknowledgement, counts it, and acknowledges.
    async fn read(&mut self) -> Result<String, End> {
        loop {
            let ServerFrame { opcode, payload } = self.socket().next_or_cut().await?;
            let text = String::from_utf8_lossy(&payload).into_owned();
            match opcode {
                1 | 2 => {}
                9 => {
                    self.socket().send_soon(ClientFrame::pong(&payload).bytes());
                    continue;
                }
                8 => return Ok(format!("close {}", u16::from_be_bytes([payload[0], payload[1]]))),
                _ => continue,
            }
            if text == "q" {
                return Ok(text);
            }
            if let Some(received) = acknowledged(&text) {
                self.forget(received);
                continue;
            }
            self.received += 1;
            if self.acknowledges && self.received.is_multiple_of(64) {
                self.acknowledge();
            }
            return Ok(summary(&text));
        }
    }

    /// Acknowledges what it has received.
    pub fn acknowledge(&mut self) {
        let ack = format!("{{\"ack\":{}}}", self.received);
        self.socket().send_soon(ClientFrame::text(ack).bytes());
    }
}

fn acknowledged(text: &str) -> Option<u64> {
    text.strip_prefix("{\"ack\":")?.strip_suffix('}')?.parse().ok()
}
