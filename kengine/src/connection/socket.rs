//! One connection's socket: what is written, read and closed, and when.
//!
//! The link is polled, never awaited in part, so that nothing is lost when a turn of the task ends: by the idle
//! task ([`Socket::poll_idle`]) and, while a handler runs, beside the handler ([`Socket::poll_busy`]).

use std::{
    borrow::Cow,
    collections::VecDeque,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use fastwebsockets::OpCode;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    connection::{
        buffers::{self, READ},
        transport::Transport,
    },
    language::disconnect_reason::DisconnectReason,
    local::outbox::{Ending, Outbox},
    node::Node,
    websocket::{
        close::{Close, CloseCode},
        deframer::{Deframer, Event},
        encoder,
        message::Message,
    },
};

/// What one waiting message costs beside its bytes, so that empty ones are bounded too.
const OVERHEAD: usize = size_of::<Incoming<'static>>();

/// A message of the client, in the read buffer or copied out of it.
#[derive(Debug)]
pub(super) enum Incoming<'b> {
    Text(Cow<'b, str>),
    Binary(Cow<'b, [u8]>),
}

impl Incoming<'_> {
    pub(super) fn message(&self) -> Message<'_> {
        match self {
            Self::Text(text) => Message::Text(text),
            Self::Binary(bytes) => Message::Binary(bytes),
        }
    }

    fn into_owned(self) -> Incoming<'static> {
        match self {
            Self::Text(text) => Incoming::Text(text.into_owned().into()),
            Self::Binary(bytes) => Incoming::Binary(bytes.into_owned().into()),
        }
    }

    fn cost(&self) -> usize {
        self.message().as_bytes().len() + OVERHEAD
    }
}

/// How the client's bytes ended. It takes effect behind the messages that came before it.
#[derive(Debug)]
enum InputEnd {
    /// A close frame, which is answered with its own code.
    Closed(Option<Box<Close>>),
    /// A breach of RFC 6455: nothing that follows means anything.
    Violated(Box<Close>),
    /// The client writes no more, without having said so.
    Silent,
}

/// Where the close handshake is (RFC 6455, section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Our close frame is queued; the client's is awaited.
    AwaitClose,
    /// Our close frame is queued and no answer can be understood: TCP is closed behind it.
    Break,
    /// TCP is closed on our side. What still comes is thrown away: unread bytes would make the kernel reset the
    /// connection, and the client lose our close frame.
    AwaitEnd,
    /// Both sides have said all: it is over once that is sent.
    Last,
    /// The socket is of no more use.
    Gone,
}

/// What is still to be done for the client; later ones stand above earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Orders {
    /// Read, handle, answer.
    Serve,
    /// The node drains: read no more; handle and answer what was read.
    Drain,
    /// Handle no further message.
    Stop,
    /// The drain's deadline: cancel the handler that still runs, too.
    Abandon,
}

/// One connection's socket.
#[derive(Debug)]
pub(super) struct Socket {
    transport: Transport,
    deframer: Deframer,
    /// Encoded frames; from `written` on the kernel has not taken them. It starts at the start of a frame.
    out: Vec<u8>,
    written: usize,
    /// The kernel takes no more until the client reads.
    blocked: bool,
    /// Messages that came while a handler ran, and what they cost.
    ahead: VecDeque<Incoming<'static>>,
    ahead_cost: usize,
    input_end: Option<InputEnd>,
    phase: Phase,
    orders: Orders,
    /// Why the connection ends, once it does.
    reason: Option<Box<DisconnectReason>>,
    /// A whole message, ping or pong came since `heard` was last set: the clock is asked once a wake.
    lively: bool,
    /// When a whole message, ping or pong last came, or the client last read on after it had not.
    heard: Instant,
    node: Arc<Node>,
    /// The next look at the silence while open; the end of the close handshake after.
    timer: Pin<Box<Sleep>>,
}

impl Socket {
    pub(super) fn new(transport: Transport, node: Arc<Node>) -> Self {
        let heard = Instant::now();
        Self {
            transport,
            deframer: Deframer::new(node.limits().max_message_size),
            out: Vec::new(),
            written: 0,
            blocked: false,
            ahead: VecDeque::new(),
            ahead_cost: 0,
            input_end: None,
            phase: Phase::Open,
            orders: Orders::Serve,
            reason: None,
            lively: false,
            heard,
            timer: Box::pin(sleep_until(heard + node.limits().idle_timeout / 3)),
            node,
        }
    }

    /// Sends what is to be sent, and waits for bytes to handle, which are then in `buffer`: so many of them.
    /// `None` when the connection is over.
    pub(super) fn poll_idle(
        &mut self,
        cx: &mut Context<'_>,
        outbox: &Outbox,
        buffer: &mut [u8],
    ) -> Poll<Option<usize>> {
        loop {
            self.take_orders(cx, outbox);
            if self.phase == Phase::Open {
                self.end_as_ordered(outbox);
            }
            if self.poll_output(cx, outbox) {
                continue;
            }
            match self.phase {
                Phase::Gone => return Poll::Ready(None),
                Phase::Last => return Poll::Pending,
                Phase::Open if self.blocked => return Poll::Pending,
                Phase::Open => match self.transport.poll_read(cx, buffer) {
                    Poll::Ready(Ok(0) | Err(_)) => self.input_end = Some(InputEnd::Silent),
                    Poll::Ready(Ok(read)) => return Poll::Ready(Some(read)),
                    Poll::Pending => return Poll::Pending,
                },
                _ => {
                    if self.poll_discard(cx, buffer).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Keeps the connection going while a handler runs: `rest`, and one look-ahead more, is read, so that control
    /// frames are answered at once; messages wait, but for those that `answers` takes. Never ready: it asks to be
    /// polled again when there is more.
    pub(super) fn poll_busy(
        &mut self,
        cx: &mut Context<'_>,
        outbox: &Outbox,
        answers: &dyn Fn(Message<'_>) -> bool,
        rest: &mut &mut [u8],
    ) {
        self.look_ahead(mem::take(rest), answers);
        loop {
            self.take_orders(cx, outbox);
            if self.poll_output(cx, outbox) {
                continue;
            }
            if !self.wants_input() {
                return;
            }
            let mut buffers = buffers::borrow();
            let polled = if self.phase == Phase::Open {
                let room = READ - self.ahead_cost;
                self.transport.poll_read(cx, &mut buffers.read[..room]).map(|read| match read {
                    Ok(0) | Err(_) => self.input_end = Some(InputEnd::Silent),
                    Ok(read) => self.look_ahead(&mut buffers.read[..read], answers),
                })
            } else {
                self.poll_discard(cx, &mut buffers.read)
            };
            buffers::give_back(buffers);
            if polled.is_pending() {
                return;
            }
        }
    }

    /// Waits until everything is written. While the client does not read, neither do we.
    pub(super) fn poll_flushed(&mut self, cx: &mut Context<'_>, outbox: &Outbox) -> Poll<()> {
        self.take_orders(cx, outbox);
        while self.poll_output(cx, outbox) {
            self.take_orders(cx, outbox);
        }
        if self.blocked { Poll::Pending } else { Poll::Ready(()) }
    }

    /// The next message: of those that waited, else off the front of `bytes`. Control frames before it are
    /// answered. `None` when there is no further one, or none is to be handled.
    pub(super) fn next<'b>(&mut self, bytes: &mut &'b mut [u8]) -> Option<Incoming<'b>> {
        if self.orders >= Orders::Stop {
            self.discard(mem::take(bytes));
            return None;
        }
        if let Some(message) = self.ahead.pop_front() {
            self.ahead_cost -= message.cost();
            return Some(message);
        }
        // Not even the queue's storage is kept by a player who is idle again.
        self.ahead = VecDeque::new();
        self.deframe(bytes)
    }

    /// Why the connection has ended.
    pub(super) fn into_reason(self) -> DisconnectReason {
        self.reason.map_or(DisconnectReason::Lost, |reason| *reason)
    }

    /// Queues the frames of an answer; behind a close frame nothing may be sent.
    pub(super) fn send(&mut self, frames: &[u8]) {
        if self.phase == Phase::Open {
            self.out.extend_from_slice(frames);
        }
    }

    /// How many bytes are queued.
    pub(super) fn queued(&self) -> usize {
        self.out.len()
    }

    /// The drain's deadline has passed.
    pub(super) fn is_abandoned(&self) -> bool {
        self.orders == Orders::Abandon
    }

    /// Lends the link a buffer to write into, unless it has one.
    pub(super) fn lend(&mut self, buffer: &mut Vec<u8>) {
        if self.out.capacity() == 0 {
            mem::swap(&mut self.out, buffer);
        }
    }

    /// Takes the lent buffer back if everything in it was sent.
    pub(super) fn reclaim(&mut self, buffer: &mut Vec<u8>) {
        if self.out.is_empty() {
            mem::swap(&mut self.out, buffer);
            self.out = Vec::new();
        }
    }

    /// Whether nothing that the client may still say is heard: it has said its last, or is not listened to any more.
    pub(super) fn hears_no_more(&self) -> bool {
        self.input_end.is_some() || self.orders != Orders::Serve || self.phase != Phase::Open
    }

    /// Whether the client would be heard: else its silence is ours, as long as it reads.
    fn listens(&self) -> bool {
        self.orders == Orders::Serve && self.input_end.is_none() && self.ahead_cost < READ
    }

    fn wants_input(&self) -> bool {
        match self.phase {
            Phase::Open => self.listens() && !self.blocked,
            Phase::AwaitClose | Phase::Break | Phase::AwaitEnd => true,
            Phase::Last | Phase::Gone => false,
        }
    }

    /// Puts the messages in `bytes` into the queue, those that `answers` takes excepted.
    fn look_ahead(&mut self, mut bytes: &mut [u8], answers: &dyn Fn(Message<'_>) -> bool) {
        while let Some(message) = self.deframe(&mut bytes) {
            if answers(message.message()) {
                continue;
            }
            self.ahead_cost += message.cost();
            self.ahead.push_back(message.into_owned());
        }
    }

    fn deframe<'b>(&mut self, bytes: &mut &'b mut [u8]) -> Option<Incoming<'b>> {
        while self.input_end.is_none() {
            let event = match self.deframer.next(bytes) {
                Ok(event) => event?,
                Err(violation) => {
                    self.input_end = Some(InputEnd::Violated(violation.close().into()));
                    return None;
                }
            };
            self.lively = true;
            match event {
                Event::Text(text) => return Some(Incoming::Text(text)),
                Event::Binary(bytes) => return Some(Incoming::Binary(bytes)),
                Event::Ping(payload) => encoder::whole(&mut self.out, OpCode::Pong, &payload),
                Event::Pong => {}
                Event::Close(close) => self.input_end = Some(InputEnd::Closed(close.map(Box::new))),
            }
        }
        None
    }

    /// Takes the pushes that wait; while the socket is blocked they stay where they are bounded.
    pub(super) fn take_pushes(&mut self, outbox: &Outbox) {
        if self.phase == Phase::Open && !self.blocked {
            outbox.take_pushes(&mut self.out, self.node.delivery().backlog());
        }
    }

    /// Takes pushes, and orders to end the connection.
    pub(super) fn take_orders(&mut self, cx: &mut Context<'_>, outbox: &Outbox) {
        let (open, blocked) = (self.phase == Phase::Open, self.blocked);
        // While the socket is blocked pushes stay where they are bounded, unless the end waits behind them and nothing
        // can follow.
        let wanted = |ending: Option<&Ending>| open && (!blocked || matches!(ending, Some(Ending::Close(_))));
        let ending = outbox.take(cx, &mut self.out, self.node.delivery().backlog(), wanted);
        let Some(ending) = ending else { return };
        match ending {
            Ending::Abandon => {
                self.orders = Orders::Abandon;
                self.phase = Phase::Gone;
                self.ends_by(DisconnectReason::CutOff);
            }
            _ if !open => {}
            Ending::Overflow => {
                self.ends_by(DisconnectReason::TooSlow);
                self.close_over_unread(&Close::new(CloseCode::TOO_SLOW, "too slow"));
            }
            Ending::Close(close) => {
                self.begin_close(Some(&close));
                self.ends_by(DisconnectReason::Server(close));
            }
            Ending::Drain => self.orders = self.orders.max(Orders::Drain),
        }
    }

    /// Ends the connection when nothing is left to handle and one side wants to.
    fn end_as_ordered(&mut self, outbox: &Outbox) {
        let (close, reason) = match &self.input_end {
            Some(InputEnd::Closed(close)) => {
                let close = close.as_deref().cloned();
                (close.clone(), DisconnectReason::Client(close))
            }
            Some(InputEnd::Violated(close)) => {
                (Some(Close::clone(close)), DisconnectReason::Violation(Close::clone(close)))
            }
            Some(InputEnd::Silent) => {
                self.ends_by(DisconnectReason::Lost);
                return self.enter(Phase::Last);
            }
            None if self.orders == Orders::Drain => {
                outbox.take_pushes(&mut self.out, self.node.delivery().backlog());
                (Some(Close::new(CloseCode::DRAINING, "draining")), DisconnectReason::Draining)
            }
            None => return,
        };
        self.ends_by(reason);
        self.begin_close(close.as_ref());
    }

    /// The first reason is the reason: what follows is how the end goes.
    fn ends_by(&mut self, reason: DisconnectReason) {
        self.reason.get_or_insert_with(|| Box::new(reason));
    }

    /// Queues the close frame. What is still to come from the client follows from how its bytes ended.
    fn begin_close(&mut self, close: Option<&Close>) {
        encoder::close(&mut self.out, close);
        self.enter(match self.input_end {
            _ if self.transport.keeps_what_was_written() => Phase::Last,
            None => Phase::AwaitClose,
            Some(InputEnd::Violated(_)) => Phase::Break,
            Some(InputEnd::Closed(_) | InputEnd::Silent) => Phase::Last,
        });
    }

    /// Begins to end: whatever happens, the end comes within the time for a close handshake.
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.orders = self.orders.max(Orders::Stop);
        self.timer.as_mut().reset(Instant::now() + self.node.limits().close_timeout);
    }

    /// The client does not read, and would find the close frame only behind all it has not read: what the kernel
    /// has not begun to take is dropped.
    fn close_over_unread(&mut self, close: &Close) {
        let mut end = 0;
        while end < self.written {
            end = encoder::end_of_frame(&self.out, end);
        }
        self.out.truncate(end);
        self.begin_close(Some(close));
    }

    /// The clock, then everything that is to be written. True if the outbox is to be looked at again, since no other
    /// wake comes for what waits there: the socket was blocked and is no more, or one batch was not all.
    fn poll_output(&mut self, cx: &mut Context<'_>, outbox: &Outbox) -> bool {
        if mem::take(&mut self.lively) {
            self.heard = Instant::now();
        }
        while self.phase != Phase::Gone && self.timer.as_mut().poll(cx).is_ready() {
            self.tick();
        }
        let was_blocked = mem::take(&mut self.blocked);
        while self.phase != Phase::Gone && self.written < self.out.len() {
            match self.transport.poll_write(cx, &self.out[self.written..]) {
                Poll::Ready(Ok(0) | Err(_)) => self.phase = Phase::Gone,
                Poll::Ready(Ok(written)) => {
                    self.written += written;
                    if was_blocked {
                        // It reads: that is life, too, of a client that was not listened to for as long as it did not.
                        self.heard = Instant::now();
                    }
                }
                Poll::Pending => {
                    self.blocked = true;
                    return false;
                }
            }
        }
        self.out.clear();
        self.written = 0;
        if matches!(self.phase, Phase::Break | Phase::Last) && self.transport.poll_shutdown(cx).is_ready() {
            self.phase = if self.phase == Phase::Break { Phase::AwaitEnd } else { Phase::Gone };
        }
        was_blocked || (self.phase == Phase::Open && outbox.has_pushes())
    }

    fn tick(&mut self) {
        if self.phase != Phase::Open {
            self.transport.reset_on_drop();
            self.phase = Phase::Gone;
            return;
        }
        let idle = self.node.limits().idle_timeout;
        let (now, third) = (Instant::now(), idle / 3);
        if !self.listens() && !self.blocked {
            // It is we who do not read: the client may be as lively as can be. But one that does not read what we
            // have for it is silent, whatever else is the matter.
            self.heard = now;
        }
        let silent = now - self.heard;
        if silent >= idle {
            self.ends_by(DisconnectReason::HeartbeatTimeout);
            return self.close_over_unread(&Close::new(CloseCode::HEARTBEAT_TIMEOUT, "heartbeat timeout"));
        }
        if silent >= third && !self.blocked {
            encoder::whole(&mut self.out, OpCode::Ping, &[]);
        }
        let next = if silent >= third { now + third } else { self.heard + third };
        self.timer.as_mut().reset(next.min(self.heard + idle));
    }

    /// Reads what comes after our close frame: only the client's own means something.
    fn poll_discard(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<()> {
        let read = match self.transport.poll_read(cx, buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0) | Err(_)) => {
                self.phase = if self.phase == Phase::AwaitClose { Phase::Last } else { Phase::Gone };
                return Poll::Ready(());
            }
            Poll::Ready(Ok(read)) => read,
        };
        self.discard(&mut buffer[..read]);
        Poll::Ready(())
    }

    /// Throws bytes away, but for the close frame that is awaited.
    fn discard(&mut self, mut bytes: &mut [u8]) {
        while self.phase == Phase::AwaitClose {
            match self.deframer.next(&mut bytes) {
                Ok(Some(Event::Close(_))) => self.phase = Phase::Last,
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(_) => self.phase = Phase::Break,
            }
        }
    }
}
