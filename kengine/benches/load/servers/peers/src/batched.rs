//! The game by hand on a socket of tokio, as far as it goes: frames are read in place, an idle connection has no
//! buffers, and everything that waits for a client is written at once. It reads only what the load sends: it has no
//! limits, no fragments and no pings.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, Error, ErrorKind};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use peers::game::{self, Step};
use peers::room::MAX_WAITING_PUSHES;
use peers::{handshake, listening};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How much is read at once, in bytes.
const READ_SIZE: usize = 16 * 1024;

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
/// The mask of a frame, in bytes.
const MASK_SIZE: usize = 4;

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_SIZE]);
}

static ROOM: Mutex<Vec<Arc<Outbox>>> = Mutex::new(Vec::new());

/// The pushes that wait for a member, as frames.
#[derive(Default)]
struct Outbox(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Bytes>,
    waker: Option<Waker>,
}

struct Player {
    stream: TcpStream,
    outbox: Option<Arc<Outbox>>,
    /// The beginning of a frame.
    input: Vec<u8>,
    /// What the socket has not taken yet.
    output: Vec<u8>,
    closes: bool,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    listening::listen(async |mut stream| {
        // In a box, so that the task of a player has no room for it.
        if Box::pin(handshake::answer(&mut stream)).await.is_ok() {
            let mut player = Player { stream, outbox: None, input: Vec::new(), output: Vec::new(), closes: false };
            // It ends with an error when the client cuts the connection.
            let _ = poll_fn(|context| player.poll(context)).await;
            if let Some(outbox) = player.outbox {
                ROOM.lock().expect("no holder panics").retain(|member| !Arc::ptr_eq(member, &outbox));
            }
        }
    })
    .await
}

impl Player {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let reads = if self.closes { Poll::Pending } else { self.poll_read(context)? };
            if let Some(outbox) = &self.outbox {
                outbox.take(&mut self.output, context);
            }
            ready!(self.poll_write(context))?;
            if self.closes {
                return Poll::Ready(Ok(()));
            }
            ready!(reads);
        }
    }

    /// Reads once, and handles what came.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            let read = buffer.filled_mut();
            if read.is_empty() {
                return Poll::Ready(Err(ErrorKind::UnexpectedEof.into()));
            }
            if self.input.is_empty() {
                let rest = self.take_frames(read)?;
                self.input.extend_from_slice(&read[rest..]);
            } else {
                let mut input = mem::take(&mut self.input);
                input.extend_from_slice(read);
                let rest = self.take_frames(&mut input)?;
                self.input.extend_from_slice(&input[rest..]);
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Handles whole frames, and returns where the rest begins.
    fn take_frames(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut begin = 0;
        while let Some((head, len)) = head(&bytes[begin..]) {
            let payload = begin + head + MASK_SIZE;
            let end = payload + len;
            if bytes.len() < end {
                break;
            }
            let opcode = bytes[begin];
            let (mask, payload) = bytes[begin + head..end].split_at_mut(MASK_SIZE);
            let mask = [mask[0], mask[1], mask[2], mask[3]];
            sockudo_ws::mask::apply_mask(payload, mask);
            match opcode {
                TEXT => self.handle(str::from_utf8(payload).map_err(Error::other)?),
                CLOSE => {
                    push_frame(&mut self.output, CLOSE, payload);
                    self.closes = true;
                }
                _ => return Err(ErrorKind::Unsupported.into()),
            }
            begin = end;
        }
        Ok(begin)
    }

    fn handle(&mut self, message: &str) {
        match game::handle(message) {
            Step::Answer(answer) => push_frame(&mut self.output, TEXT, answer.as_bytes()),
            Step::Join(answer) => {
                self.outbox.get_or_insert_with(|| {
                    let outbox = Arc::new(Outbox::default());
                    ROOM.lock().expect("no holder panics").push(Arc::clone(&outbox));
                    outbox
                });
                push_frame(&mut self.output, TEXT, answer.as_bytes());
            }
            Step::Push(push) => {
                let mut frame = Vec::with_capacity(push.len() + 4);
                push_frame(&mut frame, TEXT, push.as_bytes());
                let frame = Bytes::from(frame);
                for member in &*ROOM.lock().expect("no holder panics") {
                    member.put(&frame);
                }
            }
        }
    }

    /// Writes everything, and then gives the buffer back.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.output))?;
            self.output.drain(..written);
        }
        self.output = Vec::new();
        Poll::Ready(Ok(()))
    }
}

impl Outbox {
    fn put(&self, frame: &Bytes) {
        let mut waiting = self.0.lock().expect("no holder panics");
        if waiting.frames.len() < MAX_WAITING_PUSHES {
            waiting.frames.push_back(frame.clone());
        }
        if let Some(waker) = waiting.waker.take() {
            drop(waiting);
            waker.wake();
        }
    }

    /// Moves the frames to the output, and has the task woken for the next ones.
    fn take(&self, output: &mut Vec<u8>, context: &Context<'_>) {
        let mut waiting = self.0.lock().expect("no holder panics");
        for frame in mem::take(&mut waiting.frames) {
            output.extend_from_slice(&frame);
        }
        waiting.waker = Some(context.waker().clone());
    }
}

/// Returns the size of a frame's head without its mask, and of its payload (RFC 6455, section 5.2).
fn head(bytes: &[u8]) -> Option<(usize, usize)> {
    let len = usize::from(bytes.get(1)? & 0x7f);
    match len {
        126 => Some((4, usize::from(u16::from_be_bytes(*bytes[2..].first_chunk()?)))),
        127 => Some((10, usize::try_from(u64::from_be_bytes(*bytes[2..].first_chunk()?)).ok()?)),
        _ => Some((2, len)),
    }
}

/// Adds a frame of up to 64 KiB.
fn push_frame(output: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    output.push(opcode);
    if let Ok(len @ ..126) = u8::try_from(payload.len()) {
        output.push(len);
    } else {
        output.push(126);
        output.extend_from_slice(&u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes());
    }
    output.extend_from_slice(payload);
}
