//! A client at the level of frames, which never waits.

use std::pin::Pin;
use std::task::{Context, Poll};

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use crate::frames::{self, FIN, Frame};

/// A client. It queues what it sends, and writes and reads as much as it can.
pub struct Peer {
    stream: Option<DuplexStream>,
    /// What is not written yet.
    out: Vec<u8>,
    received: Vec<u8>,
    /// How many received bytes belong to `frames`.
    decoded: usize,
    pub frames: Vec<Frame>,
    /// How many bytes are written at a time.
    pub max_write: usize,
    /// Whether it sends only whole frames that a client may send, and has not begun to end the connection.
    pub is_clean: bool,
    pub has_ended: bool,
    /// Whether it has not read for so long that the server may have cut the connection.
    pub may_be_cut: bool,
    /// The ids of its requests, which are the numbers from 1.
    pub last_id: u64,
    pub pings: Vec<Vec<u8>>,
    /// The last `position` that was sent to it.
    pub position: Option<u64>,
}

impl Peer {
    pub fn new(stream: DuplexStream) -> Self {
        Self {
            stream: Some(stream),
            out: Vec::new(),
            received: Vec::new(),
            decoded: 0,
            frames: Vec::new(),
            max_write: usize::MAX,
            is_clean: true,
            has_ended: false,
            may_be_cut: false,
            last_id: 0,
            pings: Vec::new(),
            position: None,
        }
    }

    /// Queues a frame.
    pub fn send(&mut self, first: u8, payload: &[u8]) {
        self.send_raw(&frames::masked(first, payload));
    }

    /// Queues bytes.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        if self.stream.is_some() {
            self.out.extend_from_slice(bytes);
        }
    }

    /// Returns the text of a request with the next id.
    pub fn request(&mut self, route: &str, message: &Value) -> String {
        self.last_id += 1;
        format!(r#"{{"method":"{route}","message":{message},"id":{}}}"#, self.last_id)
    }

    pub fn ping(&mut self, payload: &[u8]) {
        self.pings.push(payload.to_vec());
        self.send(FIN | frames::PING, payload);
    }

    /// Cuts the connection.
    pub fn cut(&mut self) {
        self.stream = None;
        self.is_clean = false;
        self.has_ended = true;
    }

    /// Closes its side of the stream.
    pub fn shut_down(&mut self, cx: &mut Context<'_>) {
        self.is_clean = false;
        if let Some(stream) = &mut self.stream {
            let _ = Pin::new(stream).poll_shutdown(cx);
        }
    }

    /// Writes as much as the server takes, up to `max_write`.
    pub fn write(&mut self, cx: &mut Context<'_>) {
        let Some(stream) = &mut self.stream else { return };
        while !self.out.is_empty() {
            let piece = &self.out[..self.out.len().min(self.max_write)];
            match Pin::new(&mut *stream).poll_write(cx, piece) {
                Poll::Ready(Ok(written)) => drop(self.out.drain(..written)),
                // The server has ended the connection.
                Poll::Ready(Err(_)) => self.out.clear(),
                Poll::Pending => return,
            }
            if self.max_write < usize::MAX {
                return;
            }
        }
    }

    /// Reads everything that the server has sent, and answers pings. Returns whether there was anything.
    pub fn read(&mut self, cx: &mut Context<'_>) -> bool {
        let before = (self.received.len(), self.has_ended);
        while let Some(stream) = &mut self.stream
            && !self.has_ended
        {
            let mut buffer = [0; 4096];
            let mut buffer = ReadBuf::new(&mut buffer);
            match Pin::new(stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => self.received.extend_from_slice(buffer.filled()),
                Poll::Ready(_) => self.has_ended = true,
                Poll::Pending => break,
            }
        }
        while let Some((frame, rest)) = frames::read(&self.received[self.decoded..]) {
            assert!(self.close_code().is_none(), "a frame after the close frame: {frame:?}");
            self.decoded = self.received.len() - rest.len();
            if frame.opcode == frames::PING && self.is_clean {
                self.send(FIN | frames::PONG, &frame.payload);
            }
            self.frames.push(frame);
        }
        if self.has_ended && self.stream.is_some() && !self.may_be_cut {
            assert_eq!(self.decoded, self.received.len(), "the server has ended in the middle of a frame");
        }
        before != (self.received.len(), self.has_ended)
    }

    /// Returns the code of the server's close frame; 1005 if it has none (RFC 6455, section 7.4.1).
    pub fn close_code(&self) -> Option<u16> {
        let last = self.frames.last().filter(|frame| frame.opcode == frames::CLOSE)?;
        Some(last.payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code)))
    }

    /// Returns the texts of the server that are JSON. The others are answers to heartbeats.
    pub fn texts(&self) -> impl Iterator<Item = Value> {
        let texts = self.frames.iter().filter(|frame| frame.opcode == frames::TEXT && frame.payload != b"q");
        texts.map(|frame| serde_json::from_slice(&frame.payload).expect("JSON"))
    }

    /// Returns the ids of the answers.
    pub fn answered(&self) -> Vec<Value> {
        let is_answer = |text: &Value| text.get("result").is_some() || text.get("error").is_some();
        let answers = self.texts().filter(is_answer).filter_map(|text| text.get("id").cloned());
        answers.collect()
    }

    /// Returns the numbers of the pushes with this name.
    pub fn pushed(&self, name: &str) -> Vec<u64> {
        let pushes = self.texts().filter(|text| text.get("method").is_some_and(|method| method == name));
        pushes.filter_map(|text| text["message"]["number"].as_u64()).collect()
    }
}
