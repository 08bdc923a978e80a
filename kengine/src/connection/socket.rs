//! One connection's socket: what is read, written and closed, and when.
//!
//! The socket is a state machine: the task polls [`Socket::poll_idle`] between messages, and [`Socket::poll_busy`]
//! while a handler runs. It keeps no future between two polls, so nothing is lost when the caller's future is dropped.

use std::future::poll_fn;
use std::mem;
use std::task::{Context, Poll};

use fastwebsockets::OpCode;
use tokio::task::coop::has_budget_remaining;

use crate::connection::buffers;
use crate::connection::input_rates::Allowance;
use crate::connection::link::Link;
use crate::connection::look_ahead::{Incoming, LookAhead};
use crate::connection::output::Output;
use crate::connection::resumption::Resumption;
use crate::connection::socket_end::SocketEnd;
use crate::connection::socket_state::SocketState;
use crate::connection::transport::Transport;
use crate::node::admission::Registration;
use crate::node_state::{BATCH, CHECKS, Destination, Ending, Limit, Outbox};
use crate::protocol::{Answer, DisconnectReason};
use crate::websocket::{Deframer, Message, Violation, WebSocketEvent, encoder};

/// One connection's socket.
#[expect(clippy::struct_excessive_bools, reason = "each holds alone, and they take one byte each")]
pub(super) struct Socket {
    pub(super) link: Box<Link>,
    pub(super) deframer: Deframer,
    /// What waits for the kernel to take it.
    pub(super) out: Output,
    /// Whether the kernel takes no more until the client reads.
    pub(super) is_blocked: bool,
    /// Whether the node drains: nothing more is read, but what was read is handled and answered.
    pub(super) is_draining: bool,
    /// Whether a sign of life came with the last bytes, and is not recorded yet.
    pub(super) is_heard: bool,
    pub(super) state: SocketState,
    look_ahead: LookAhead,
    /// Pings of ours that the client has not answered yet.
    pub(super) pings: u16,
    /// Whether `#[open]` has begun. Otherwise `#[close]` does not run either: another connection has the uid.
    runs_hooks: bool,
    pub(super) end: SocketEnd,
}

impl Socket {
    pub(super) fn new(transport: Transport, registration: Registration) -> Self {
        Self {
            link: Box::new(Link::new(transport, registration)),
            deframer: Deframer::default(),
            out: Output::default(),
            is_blocked: false,
            is_draining: false,
            is_heard: false,
            state: SocketState::Open,
            look_ahead: LookAhead::default(),
            pings: 0,
            runs_hooks: false,
            end: SocketEnd::default(),
        }
    }

    /// Writes what is queued and waits for input. Returns the number of bytes read into `buffer`, which is 0 if the
    /// dispatcher must be told [news](Self::has_news) or the session is [asked for](Self::is_asked_for), or `None` when
    /// the connection has ended. Called only when every message that was read is handled.
    pub(super) fn poll_idle(
        &mut self,
        cx: &mut Context<'_>,
        outbox: &Outbox,
        buffer: &mut [u8],
    ) -> Poll<Option<usize>> {
        loop {
            self.take_outbox(cx, outbox);
            if self.end.is_resumable() {
                self.poll_resumption(cx, outbox);
            }
            if self.state == SocketState::Open && (self.is_draining || self.end.input().is_some()) {
                self.end_if_due(outbox);
            }
            if self.poll_output(cx, outbox) {
                continue;
            }
            match self.state {
                SocketState::Open if self.is_blocked => {}
                SocketState::Open => match self.link.transport.poll_read(cx, buffer) {
                    Poll::Ready(Ok(0) | Err(_)) => {
                        self.end.end_input(DisconnectReason::Lost);
                        continue;
                    }
                    Poll::Ready(Ok(read)) => {
                        self.record_read(read);
                        return Poll::Ready(Some(read));
                    }
                    Poll::Pending => {
                        self.record_empty_input();
                        if self.end.is_resumable() && self.poll_ack(cx) {
                            continue;
                        }
                    }
                },
                SocketState::Suspended | SocketState::Given => {}
                SocketState::Broken => {
                    self.end(SocketState::Over, DisconnectReason::Lost);
                    continue;
                }
                _ => return Poll::Ready(None),
            }
            if !self.end.is_unset() && (self.has_news() || self.is_asked_for()) {
                return Poll::Ready(Some(0));
            }
            if !self.poll_timer(cx, outbox) {
                return Poll::Pending;
            }
        }
    }

    /// Serves the socket while a handler runs: control frames are answered at once, and messages wait unless
    /// `take_answer` takes them. Reads `rest`, and then from the transport until the look-ahead is full. Never ready,
    /// but registers the task to be woken.
    pub(super) fn poll_busy(
        &mut self,
        cx: &mut Context<'_>,
        outbox: &Outbox,
        take_answer: &dyn Fn(Message<'_>) -> bool,
        rest: &mut &mut [u8],
    ) {
        self.read_ahead(mem::take(rest), take_answer);
        loop {
            self.poll_outbox(cx, outbox);
            let discards = self.state.discards_input();
            if !discards && (self.is_blocked || !self.can_read_ahead()) {
                return;
            }
            let mut buffers = buffers::borrow();
            let polled = if discards {
                self.poll_discard(cx, &mut buffers.read)
            } else {
                let room = self.look_ahead.room();
                self.link.transport.poll_read(cx, &mut buffers.read[..room]).map(|read| match read {
                    Ok(0) | Err(_) => self.end.end_input(DisconnectReason::Lost),
                    Ok(read) => {
                        self.record_read(read);
                        self.read_ahead(&mut buffers.read[..read], take_answer);
                    }
                })
            };
            buffers::give_back(buffers);
            self.suspend_if_lost(outbox);
            if polled.is_pending() {
                self.record_empty_input();
                return;
            }
        }
    }

    /// Waits until everything is written or the connection has ended. Nothing is read meanwhile, so a client that does
    /// not read is not served. If the session can be resumed, the messages in `rest` are parsed first, because the
    /// socket may be replaced.
    pub(super) fn poll_flushed(&mut self, cx: &mut Context<'_>, outbox: &Outbox, rest: &mut &mut [u8]) -> Poll<()> {
        if self.end.is_resumable() {
            self.read_ahead(mem::take(rest), &|_| false);
        }
        self.poll_outbox(cx, outbox);
        // If another node has asked for the session, nobody reads from this socket any more.
        let waits = self.is_blocked && self.state == SocketState::Open && !self.is_asked_for();
        if waits { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Completes the close handshake after the connection has ended. Ready when the socket is closed; the close timeout
    /// bounds this.
    pub(super) fn poll_closed(&mut self, cx: &mut Context<'_>, outbox: &Outbox) -> Poll<()> {
        self.poll_busy(cx, outbox, &|_| false, &mut Default::default());
        if self.state.is_over() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Takes waiting pushes and the order to end the connection.
    pub(super) async fn receive_orders(&mut self, outbox: &Outbox) {
        poll_fn(|cx| {
            self.take_outbox(cx, outbox);
            Poll::Ready(())
        })
        .await;
    }

    /// Returns the next message: first those that were read ahead, then from the front of `bytes`. Answers control
    /// frames on the way. Returns `None` when there is no further message, or messages are not handled any more.
    #[inline]
    pub(super) fn next_message<'b>(&mut self, bytes: &mut &'b mut [u8]) -> Option<Incoming<'b>> {
        if !self.state.handles_messages() {
            self.discard(mem::take(bytes));
            return None;
        }
        self.look_ahead.pop().or_else(|| self.deframe(bytes))
    }

    /// Whether messages wait that came while a handler ran.
    pub(super) fn has_read_ahead(&self) -> bool {
        !self.look_ahead.is_empty()
    }

    /// Takes waiting pushes. While the kernel takes no more, they stay in the outbox, where they are bounded.
    #[inline]
    pub(super) fn take_pushes(&mut self, outbox: &Outbox) {
        if self.state == SocketState::Open && !self.is_blocked {
            self.move_pushes(outbox);
        }
    }

    /// Moves all waiting pushes to what is written.
    #[inline]
    pub(super) fn move_pushes(&mut self, outbox: &Outbox) {
        if outbox.has_pushes() {
            let Self { link, out, end, .. } = self;
            outbox.take_pushes(destination(out, end), &link.node().fan_out.backlog);
        }
    }

    /// Queues the frames of an answer. Nothing follows a close frame (RFC 6455, section 5.5.1).
    #[inline]
    pub(super) fn send(&mut self, answer: &mut Answer, outbox: &Outbox) {
        if self.end.is_resumable() {
            return self.send_and_keep(answer, outbox);
        }
        if self.state == SocketState::Open {
            answer.move_to(self.out.frames());
        }
    }

    /// Whether so much is queued that it must be written before another message is handled.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.out.len() >= BATCH.min(self.link.node().limits.outbox.max_size)
    }

    /// Counts bytes that were just read from the client.
    #[inline]
    pub(super) fn record_read(&mut self, bytes: usize) {
        if let Allowance::Exhausted(limit) = self.link.count_read(bytes) {
            self.end_flood(limit);
        }
    }

    /// Returns when the client's bytes were last read, on the node's clock.
    pub(super) fn read_at(&self) -> u64 {
        self.link.read_at()
    }

    /// Records that no input was there to read. While tokio wants the task to yield, this is not known.
    fn record_empty_input(&mut self) {
        self.record_input();
        if has_budget_remaining() {
            self.link.input_is_empty();
        }
    }

    /// Records the sign of life that came with the last bytes, if one did.
    fn record_input(&mut self) {
        if mem::take(&mut self.is_heard) {
            self.link.registration.silence().record_input(self.link.read_at());
        }
    }

    /// Lends the socket a buffer to write into, unless it has one.
    pub(super) fn lend(&mut self, buffer: &mut Output) {
        if self.out.is_absent() {
            mem::swap(&mut self.out, buffer);
        }
    }

    /// Takes the lent buffer back if everything in it is written.
    pub(super) fn reclaim(&mut self, buffer: &mut Output) {
        if self.out.len() == 0 {
            *buffer = mem::take(&mut self.out);
        }
    }

    /// Records that `#[open]` begins, so that `#[close]` will run too.
    pub(super) fn begin_hooks(&mut self) {
        self.runs_hooks = true;
    }

    /// Records that another node has the session, so that `#[close]` does not run here.
    pub(super) fn forget_hooks(&mut self) {
        self.runs_hooks = false;
    }

    /// Whether `#[open]` has begun, and so `#[close]` must run.
    pub(super) fn runs_hooks(&self) -> bool {
        self.runs_hooks
    }

    /// Whether the drain's deadline has passed.
    pub(super) fn is_abandoned(&self) -> bool {
        self.state == SocketState::Abandoned
    }

    /// Whether more messages of the client are read. False once its input or the connection is about to end.
    pub(super) fn is_listening(&self) -> bool {
        match self.state {
            SocketState::Open => self.end.input().is_none() && !self.is_draining,
            state => state == SocketState::Suspended,
        }
    }

    /// Whether the connection has ended: no further message is handled.
    pub(super) fn has_ended(&self) -> bool {
        !self.state.handles_messages()
    }

    /// Takes why the connection has ended.
    pub(super) fn take_reason(&mut self) -> DisconnectReason {
        self.end.take_reason()
    }

    /// Whether messages may be read while a handler runs.
    fn can_read_ahead(&self) -> bool {
        self.state == SocketState::Open && self.is_listening() && self.look_ahead.room() > 0
    }

    /// Queues the messages in `bytes`, except those that `take_answer` takes.
    pub(super) fn read_ahead(&mut self, mut bytes: &mut [u8], take_answer: &dyn Fn(Message<'_>) -> bool) {
        while let Some(message) = self.deframe(&mut bytes) {
            if !take_answer(message.message()) {
                self.look_ahead.push(message);
            }
        }
    }

    /// Returns the next message in `bytes`, and answers the control frames before it (RFC 6455, section 5.5).
    fn deframe<'b>(&mut self, bytes: &mut &'b mut [u8]) -> Option<Incoming<'b>> {
        while self.end.input().is_none() {
            let event = match self.deframer.next(bytes, self.link.node().limits.message()) {
                Ok(event) => event?,
                Err(violation) => {
                    if violation == Violation::TooManyFragments {
                        self.link.registration.record_refusal(Limit::FragmentsPerMessage);
                    }
                    self.end.end_input(DisconnectReason::Violation(violation.close()));
                    return None;
                }
            };
            self.is_heard = true;
            let message = match event {
                WebSocketEvent::Text(text) => Incoming::Text(text),
                WebSocketEvent::Binary(bytes) => Incoming::Binary(bytes),
                WebSocketEvent::Ping(payload) => {
                    if self.admits_ping() {
                        encoder::write_frame(self.out.frames(), OpCode::Pong, &payload);
                    }
                    continue;
                }
                WebSocketEvent::Pong if self.pings > 0 => {
                    self.pings -= 1;
                    continue;
                }
                WebSocketEvent::Pong => {
                    self.admits_ping();
                    continue;
                }
                WebSocketEvent::Close(close) => {
                    self.end.end_input(DisconnectReason::Client(close));
                    continue;
                }
            };
            if self.end.is_resumable() && self.count_or_take(message.message()) {
                if let Allowance::Exhausted(limit) = self.link.count_message() {
                    self.end_flood(limit);
                }
                continue;
            }
            return self.admit(message);
        }
        None
    }

    /// Compares a message with the limits per second. A client that exceeds them further is closed.
    #[inline]
    fn admit<'b>(&mut self, message: Incoming<'b>) -> Option<Incoming<'b>> {
        match self.link.count_message() {
            Allowance::Granted => Some(message),
            Allowance::Refused(limit) => {
                self.link.registration.record_refusal(limit);
                Some(message.refused())
            }
            Allowance::Exhausted(limit) => {
                self.end_flood(limit);
                None
            }
        }
    }

    /// Compares a ping with the limit per second. A client that exceeds it is closed.
    fn admits_ping(&mut self) -> bool {
        let is_admitted = self.link.count_ping();
        if !is_admitted {
            self.end_flood(Limit::PingsPerSecond);
        }
        is_admitted
    }

    /// Ends the input of a client that sends too much.
    #[cold]
    fn end_flood(&mut self, limit: Limit) {
        if self.end.input().is_none() {
            self.link.registration.record_refusal(limit);
            self.end.end_input(DisconnectReason::RateLimited);
        }
    }

    /// Takes what waits in the outbox, and writes until nothing waits or the kernel takes no more.
    fn poll_outbox(&mut self, cx: &mut Context<'_>, outbox: &Outbox) {
        loop {
            self.take_outbox(cx, outbox);
            if self.end.is_resumable() {
                self.poll_resumption(cx, outbox);
            }
            if !self.poll_output(cx, outbox) && !self.poll_timer(cx, outbox) && !self.poll_ack(cx) {
                return;
            }
        }
    }

    /// Checks the silence of the client if that is due and, after our close frame, the close timeout. Returns whether
    /// the caller must go on.
    fn poll_timer(&mut self, cx: &mut Context<'_>, outbox: &Outbox) -> bool {
        match self.state {
            SocketState::Open => {
                let is_due = outbox.take_reminder();
                if is_due {
                    self.check_silence(outbox);
                }
                is_due
            }
            SocketState::Suspended | SocketState::Given => false,
            state if state.is_over() => false,
            _ => {
                let has_ended = self.end.poll_close_timeout(cx, self.link.node().limits.close_timeout).is_ready();
                if has_ended {
                    self.link.transport.reset_on_drop();
                    self.state = SocketState::Over;
                }
                has_ended
            }
        }
    }

    /// Takes waiting pushes, and carries out the order to end the connection, if there is one.
    #[inline]
    pub(super) fn take_outbox(&mut self, cx: &mut Context<'_>, outbox: &Outbox) {
        if outbox.has_changed() {
            self.take_changes(cx, outbox);
        }
    }

    fn take_changes(&mut self, cx: &mut Context<'_>, outbox: &Outbox) {
        let (is_open, is_blocked) = (self.state == SocketState::Open, self.is_blocked);
        let is_broken = matches!(self.state, SocketState::Broken | SocketState::Suspended);
        // While the kernel takes no more, pushes stay in the outbox, where they are bounded. Before a close frame they
        // are taken anyway, because no more can follow.
        let wants_pushes =
            |ending: Option<&Ending>| is_open && (!is_blocked || matches!(ending, Some(Ending::Close(_))));
        let Self { link, out, end, .. } = self;
        match outbox.take(cx, destination(out, end), &link.node().fan_out.backlog, wants_pushes) {
            Some(Ending::Abandon) if self.state == SocketState::Given => {
                self.end.resumption().into_iter().for_each(Resumption::call);
            }
            Some(Ending::Abandon) => {
                let is_away = self.state == SocketState::Suspended;
                let reason = if is_away { DisconnectReason::Draining } else { DisconnectReason::CutOff };
                self.end(SocketState::Abandoned, reason);
            }
            Some(Ending::Shed) if !self.state.is_over() => self.cut_off(),
            Some(Ending::Overflow) if is_open => self.close_unread(DisconnectReason::TooSlow),
            Some(Ending::Close(reason)) if is_open => self.close(reason),
            // Messages that were read are not handled any more.
            Some(Ending::Overflow) if is_broken => self.end(SocketState::Over, DisconnectReason::TooSlow),
            Some(Ending::Close(reason)) if is_broken => self.end(SocketState::Over, reason),
            Some(Ending::Drain) if is_open => self.is_draining = true,
            Some(Ending::Drain) if self.state == SocketState::Suspended && !self.end.hands_over() => {
                self.end(SocketState::Over, DisconnectReason::Draining);
            }
            _ => {}
        }
    }

    /// Ends the connection if the client's input has ended or the node drains. Called only when every message that was
    /// read is handled.
    fn end_if_due(&mut self, outbox: &Outbox) {
        if self.suspend_if_lost(outbox) {
            return;
        }
        match self.end.input().cloned() {
            Some(DisconnectReason::Lost) => self.end(SocketState::Closed, DisconnectReason::Lost),
            Some(reason) => self.close(reason),
            None if self.is_draining && self.can_suspend(outbox) => {
                self.move_pushes(outbox);
                self.suspend(DisconnectReason::Draining.close_frame(), outbox);
            }
            None if self.is_draining => {
                self.move_pushes(outbox);
                self.close(DisconnectReason::Draining);
            }
            None => {}
        }
    }

    /// Queues our close frame: the start of the closing handshake or its answer (RFC 6455, sections 7.1.2 and 5.5.1).
    fn close(&mut self, reason: DisconnectReason) {
        encoder::write_close_frame(self.out.frames(), reason.close_frame().as_ref());
        let state = SocketState::after_our_close(self.end.input());
        self.end(if self.link.transport.may_drop_unread() { SocketState::Closed } else { state }, reason);
    }

    /// Closes a connection whose client does not read. Frames that the kernel has not begun to take are dropped,
    /// because the client would find the close frame only after them.
    fn close_unread(&mut self, reason: DisconnectReason) {
        let mut end = 0;
        while end < self.out.written() {
            end = encoder::end_of_frame(self.out.frames(), end);
        }
        self.out.frames().truncate(end);
        self.close(reason);
    }

    /// Ends the connection at once, because the node needs the memory. The client may be in the middle of a frame, so
    /// it gets no close frame.
    fn cut_off(&mut self) {
        self.end(SocketState::Over, DisconnectReason::TooSlow);
        self.link.transport.reset_on_drop();
        self.out = Output::default();
    }

    /// Leaves [`SocketState::Open`], and ends the connection for everybody else. A reason that is already set stays.
    pub(super) fn end(&mut self, state: SocketState, reason: DisconnectReason) {
        self.state = state;
        self.end.set_reason(reason);
        self.end.set_resumption(None);
        self.link.registration.end();
    }

    /// Writes what is queued. Returns whether the caller must check the outbox again: because the kernel has begun to
    /// take data again, because the outbox still has pushes, or because this connection may be one that the node has
    /// closed to free memory. Nothing else wakes the task for these.
    fn poll_output(&mut self, cx: &mut Context<'_>, outbox: &Outbox) -> bool {
        let was_blocked = mem::take(&mut self.is_blocked);
        while self.state.writes() {
            let Some(rest) = self.out.unwritten() else { break };
            let writing = if self.state.must_shut_down() {
                self.link.transport.poll_write_last(cx, rest)
            } else {
                self.link.transport.poll_write(cx, rest)
            };
            match writing {
                Poll::Ready(Ok(0) | Err(_)) => self.state = self.state.after_failed_write(),
                Poll::Ready(Ok(written)) => {
                    self.out.advance(written);
                    if was_blocked {
                        // A client that reads our data is alive. It could show no other sign, because nothing was read
                        // from it meanwhile.
                        self.link.registration.silence().record_input(self.link.node().clock.now());
                    }
                }
                Poll::Pending => {
                    self.is_blocked = true;
                    self.link.input_waits();
                    let node = self.link.node();
                    outbox.set_unsent(self.out.len(), &node.fan_out.backlog);
                    return node.relieve();
                }
            }
        }
        if self.state == SocketState::Broken && self.suspend_if_lost(outbox) {
            return true;
        }
        self.out.clear();
        if was_blocked {
            outbox.set_unsent(0, &self.link.node().fan_out.backlog);
        }
        if self.state.must_shut_down() && self.link.transport.poll_shutdown(cx).is_ready() {
            self.state = self.state.after_shutdown();
        }
        was_blocked || (self.state == SocketState::Open && outbox.has_pushes())
    }

    /// Pings a silent client (RFC 6455, section 5.5.2), and closes the connection at the end of the idle timeout.
    #[cold]
    fn check_silence(&mut self, outbox: &Outbox) {
        self.record_input();
        self.link.registration.watch();
        // Silence counts if we read from the client, or if the client does not read our data. Otherwise the client may
        // be alive.
        let is_heard = self.can_read_ahead() || self.is_blocked;
        let node = self.link.node();
        let idle_timeout = node.limits.idle_timeout;
        let silence = self.link.registration.silence().check(node.clock.now(), idle_timeout, is_heard);
        if silence >= idle_timeout && self.can_suspend(outbox) {
            self.suspend(DisconnectReason::HeartbeatTimeout.close_frame(), outbox);
        } else if silence >= idle_timeout {
            self.close_unread(DisconnectReason::HeartbeatTimeout);
        } else if silence >= idle_timeout / CHECKS && !self.is_blocked {
            encoder::write_frame(self.out.frames(), OpCode::Ping, &[]);
            self.pings = self.pings.saturating_add(1);
        }
    }

    /// Reads and discards input after our close frame. A client that goes on to send too much is cut off.
    fn poll_discard(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<()> {
        self.link.transport.poll_read(cx, buffer).map(|read| match read {
            Ok(0) | Err(_) => self.state = self.state.after_end_of_input(),
            Ok(read) => match self.link.count_read(read) {
                Allowance::Granted | Allowance::Refused(_) => self.discard(&mut buffer[..read]),
                Allowance::Exhausted(_) => {
                    self.link.transport.reset_on_drop();
                    self.state = SocketState::Over;
                }
            },
        })
    }

    /// Discards input, except for the client's close frame if that is awaited.
    fn discard(&mut self, mut bytes: &mut [u8]) {
        while self.state == SocketState::Closing {
            match self.deframer.next(&mut bytes, self.link.node().limits.message()) {
                Ok(Some(WebSocketEvent::Close(_))) => self.state = SocketState::Closed,
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(_) => self.state = SocketState::Failed,
            }
        }
    }
}

/// Returns where waiting pushes are moved. The answers that were sent before them are kept first.
#[inline]
fn destination<'o>(out: &'o mut Output, end: &'o mut SocketEnd) -> Destination<'o> {
    let out = out.frames();
    let exchange = end.resumption().map(|resumption| {
        resumption.keep_answers(out);
        resumption.mark_unchecked();
        &mut resumption.exchange
    });
    Destination { out, exchange }
}
