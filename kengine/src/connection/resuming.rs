//! How a session outlives its socket: what is counted and kept, when the session is suspended, and how a client that
//! comes back takes it over.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::empty;

use crate::connection::left_socket::close_left;
use crate::connection::resumables::Arrival;
use crate::connection::resumption::{PresenceChange, Resumption};
use crate::connection::socket::Socket;
use crate::connection::socket_state::SocketState;
use crate::connection::transport::OtherTransport;
use crate::node::admission::HeldSlot;
use crate::node_state::{HandOverStep, Outbox};
use crate::protocol::resumption::{ResumeAnswer, ResumeRequest, parse_ack, write_ack};
use crate::protocol::{Answer, DisconnectReason, logged};
use crate::websocket::{Close, CloseCode, Deframer, Message};

impl Socket {
    /// Goes on with a session of another node, and queues the first message for the client, and what it lacks.
    pub(super) fn go_on(&mut self, (mut resumption, answer): (Resumption, ResumeAnswer), outbox: &Outbox) {
        let out = self.out.frames();
        answer.write(out);
        resumption.exchange.write_unacknowledged(out);
        resumption.trim(self.link.node().limits.outbox);
        resumption.report(false, outbox, &self.link.node().fan_out.backlog);
        self.end.set_resumption(Some(resumption));
    }

    /// Makes the session resumable, and queues the first message for the client.
    pub(super) fn begin_resumption(&mut self, (resumption, answer): (Resumption, ResumeAnswer)) {
        answer.write(self.out.frames());
        self.end.set_resumption(Some(resumption));
    }

    /// Counts a message of a client that can resume its session, or takes it if it is an acknowledgement. Returns
    /// whether it was taken.
    pub(super) fn count_or_take(&mut self, message: Message<'_>) -> bool {
        let Some(resumption) = self.end.resumption() else { return false };
        resumption.confirm();
        if message.as_bytes() == self.link.node().limits.heartbeat.request.as_bytes() {
            return false;
        }
        let Some(received) = parse_ack(message) else {
            resumption.exchange.record_received();
            if resumption.exchange.must_acknowledge()
                && self.state == SocketState::Open
                && let Some(received) = resumption.exchange.take_ack()
            {
                write_ack(self.out.frames(), received);
            }
            return false;
        };
        resumption.mark_unchecked();
        if resumption.exchange.acknowledge(received).is_err() {
            let close = Close::new(CloseCode::PROTOCOL_ERROR, "acknowledged more than was sent");
            self.end.end_input(DisconnectReason::Violation(close));
        }
        true
    }

    /// Keeps the answers that were sent since this was called last, until the client acknowledges them.
    #[inline]
    pub(super) fn keep_answers(&mut self) {
        if let Some(resumption) = self.end.resumption() {
            resumption.keep_answers(self.out.frames());
        }
    }

    /// Queues the frames of an answer, which will be kept until the client acknowledges them.
    pub(super) fn send_and_keep(&mut self, answer: &mut Answer, outbox: &Outbox) {
        if self.state != SocketState::Open {
            return self.keep_for_absent(answer, outbox);
        }
        let heartbeat = &self.link.registration.node().limits.heartbeat.answer;
        let Some(resumption) = self.end.resumption() else { return };
        let out = self.out.frames();
        let start = out.len();
        answer.move_to(out);
        if !resumption.record_answer(out, start, heartbeat) {
            resumption.keep_answers(out);
            resumption.keep_frames(&out[start..], heartbeat);
            resumption.mark_unchecked();
        }
    }

    /// Keeps the frames of an answer whose client is away, or whose session this node parts with. Ends the session if
    /// too much waits for it.
    fn keep_for_absent(&mut self, answer: &Answer, outbox: &Outbox) {
        if !answer.frames().is_empty() {
            // The handler's pushes precede its answer.
            self.move_pushes(outbox);
            self.out.clear();
        }
        let node = self.link.registration.node();
        let Some(resumption) = self.end.resumption() else { return };
        resumption.keep_frames(answer.frames(), &node.limits.heartbeat.answer);
        if self.state != SocketState::Suspended {
            return resumption.trim(node.limits.outbox);
        }
        resumption.report(true, outbox, &node.fan_out.backlog);
        if resumption.exceeds(node.limits.outbox) {
            self.end(SocketState::Over, DisconnectReason::TooSlow);
        }
    }

    /// Keeps what was sent, takes a client that comes back, and ends a session whose client does not. Every message
    /// that was read must have been parsed, and the task must have [registered](Self::take_outbox), so that no summons
    /// is missed.
    pub(super) fn poll_resumption(&mut self, cx: &mut Context<'_>, outbox: &Outbox) {
        let Some(resumption) = self.end.resumption() else { return };
        if resumption.is_unchecked() && self.state == SocketState::Open {
            let node = self.link.registration.node();
            resumption.keep_answers(self.out.frames());
            if resumption.check_size(node.limits.outbox) {
                resumption.report(false, outbox, &node.fan_out.backlog);
            }
        }
        if self.state != SocketState::Open || outbox.is_summoned() {
            self.poll_absence(cx, outbox);
        }
    }

    fn poll_absence(&mut self, cx: &mut Context<'_>, outbox: &Outbox) {
        let id = self.link.registration.id();
        if outbox.take_summons()
            && let Some(resumption) = self.end.resumption()
        {
            resumption.call();
            if let Some(arrival) = resumption.take_arrival(id) {
                self.receive(arrival, outbox);
                self.take_outbox(cx, outbox);
            }
        }
        let Some(resumption) = self.end.resumption() else { return };
        match self.state {
            SocketState::Suspended if resumption.poll_late(cx).is_ready() => {
                self.end(SocketState::Over, DisconnectReason::NotResumed);
            }
            SocketState::Given if resumption.poll_late(cx).is_ready() => resumption.call(),
            _ => {}
        }
    }

    /// Acknowledges messages that have waited for it long enough, and otherwise registers the task to do so later.
    /// Returns whether it has acknowledged some.
    #[inline]
    pub(super) fn poll_ack(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(resumption) = self.end.resumption() else { return false };
        resumption.waits_for_ack(self.link.read_at()) && self.state == SocketState::Open && self.poll_ack_timer(cx)
    }

    fn poll_ack_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(resumption) = self.end.resumption() else { return false };
        match resumption.poll_ack_timer(cx, self.link.read_at()) {
            Poll::Ready(received) => write_ack(self.out.frames(), received),
            Poll::Pending => return false,
        }
        true
    }

    /// Forgets the task that waits to acknowledge messages, because another one may serve the socket from now on.
    pub(super) fn forget_timer(&mut self) {
        if let Some(resumption) = self.end.resumption().filter(|_| self.state == SocketState::Open) {
            resumption.forget_timer();
        }
    }

    /// Records whether messages were read just now, and the task has not paused since.
    #[inline]
    pub(super) fn set_just_read(&mut self, has_just_read: bool) {
        if let Some(resumption) = self.end.resumption() {
            resumption.set_just_read(has_just_read);
        }
    }

    /// Whether the session would outlive the socket.
    pub(super) fn can_suspend(&self, outbox: &Outbox) -> bool {
        let may_wait = if self.end.hands_over() { !outbox.is_over() } else { !self.is_draining && !outbox.is_ending() };
        matches!(self.state, SocketState::Open | SocketState::Broken) && self.end.is_resumable() && may_wait
    }

    /// Suspends the session if the client's input has ended in a way that allows it to come back. Every message that
    /// was read must have been parsed. Returns whether it did.
    pub(super) fn suspend_if_lost(&mut self, outbox: &Outbox) -> bool {
        let close = match self.end.input() {
            Some(DisconnectReason::Lost) => None,
            Some(DisconnectReason::Client(Some(close))) if close.code().get() == GOING_AWAY => Some(close.clone()),
            None if self.state == SocketState::Broken => None,
            _ => return false,
        };
        let suspends = self.can_suspend(outbox);
        if suspends {
            self.suspend(close, outbox);
        }
        suspends
    }

    /// Parts from the socket, which is closed with this close frame, and waits for the client to come back.
    pub(super) fn suspend(&mut self, close: Option<Close>, outbox: &Outbox) {
        self.keep_answers();
        self.part(close, None);
        self.state = SocketState::Suspended;
        self.link.registration.suspend();
        let node = self.link.registration.node();
        let backlog = &node.fan_out.backlog;
        if let Some(resumption) = self.end.resumption() {
            // A node that drains has moved here what waited in the outbox, too.
            resumption.trim(node.limits.outbox);
            resumption.wait();
            resumption.report(true, outbox, backlog);
        }
        outbox.set_unsent(0, backlog);
        tracing::debug!(connection = self.link.registration.id().0, "the session is suspended");
    }

    /// Closes the socket, without waiting for that, and forgets the start of a message that has not come whole.
    fn part(&mut self, close: Option<Close>, slot: Option<HeldSlot>) {
        let transport = mem::replace(&mut self.link.transport, OtherTransport::Absent(empty()).into());
        let out = mem::take(&mut self.out);
        let answers = matches!(self.end.input(), Some(DisconnectReason::Client(_)));
        if let Some(close) = close {
            // A client that is moved to another node gets its answers before. What it does not get, it gets there.
            let rest = match out.unwritten() {
                Some(unwritten) if self.is_draining => unwritten.to_vec(),
                _ => out.rest_of_frame(),
            };
            let node = Arc::clone(self.link.registration.node_arc());
            tokio::spawn(close_left(slot, transport, node, rest, close, answers));
        }
        self.is_blocked = false;
        self.is_heard = false;
        self.pings = 0;
        self.deframer = Deframer::default();
        self.end.reopen_input();
    }

    /// Goes on over the socket of a client that has come back, or gives the socket back if the session cannot be
    /// resumed.
    fn receive(&mut self, arrival: Arrival, outbox: &Outbox) {
        let ResumeRequest { token, received, .. } = arrival.request();
        let id = self.link.registration.id();
        let may_go_on = self.state == SocketState::Suspended
            || (self.can_suspend(outbox) && self.end.input().is_none_or(may_come_back));
        let resumption = self.end.resumption().filter(|resumption| may_go_on && resumption.has(token));
        let Some(resumption) = resumption else { return arrival.refuse() };
        if !resumption.cancel_departure(id, HandOverStep::Superseded) {
            return arrival.refuse();
        }
        if !resumption.exchange.resume(received, outbox.waiting_keys()) {
            // Never in part.
            self.end(SocketState::Over, DisconnectReason::NotResumed);
            self.link.transport.reset_on_drop();
            return arrival.refuse();
        }
        let (transport, slot, first) = match arrival.accept().into_parts() {
            Ok(parts) => parts,
            Err(error) => return tracing::warn!(error = logged(&error), "a socket could not be moved to its thread"),
        };
        let old_slot = self.link.registration.replace_slot(slot);
        if self.state == SocketState::Suspended {
            drop(old_slot);
        } else {
            // The earlier socket only seemed to be open.
            if let Some(resumption) = self.end.resumption() {
                resumption.wait();
            }
            let replaced = DisconnectReason::Replaced.close_frame();
            self.part(replaced, Some(old_slot));
            self.link.registration.suspend();
        }
        self.link.transport = transport;
        self.link.registration.end_suspension();
        self.link.registration.watch();
        self.state = SocketState::Open;
        self.out.clear();
        let recipient = Arc::clone(self.link.registration.recipient());
        if let Some(resumption) = self.end.resumption() {
            resumption.go_on(token, &recipient).write(self.out.frames());
            resumption.exchange.write_unacknowledged(self.out.frames());
            resumption.report(false, outbox, &self.link.node().fan_out.backlog);
        }
        outbox.set_unsent(0, &self.link.node().fan_out.backlog);
        tracing::debug!(connection = self.link.registration.id().0, "the session is resumed");
        if !first.is_empty() {
            let mut first = first;
            self.record_read(first.len());
            self.read_ahead(&mut first, &|_| false);
        }
    }

    /// Whether the dispatcher must be told that the session was suspended or resumed.
    #[inline]
    pub(super) fn has_news(&mut self) -> bool {
        self.end.resumption().is_some_and(|resumption| resumption.has_news())
    }

    /// Returns what the dispatcher must be told next.
    pub(super) fn next_news(&mut self) -> Option<PresenceChange> {
        self.end.resumption().and_then(Resumption::next_news)
    }
}

/// The close code of a client that leaves a page or changes its network, and may come back (RFC 6455, section 7.4.1).
const GOING_AWAY: u16 = 1001;

/// Whether a client whose input has ended like this may come back.
fn may_come_back(input: &DisconnectReason) -> bool {
    match input {
        DisconnectReason::Lost => true,
        DisconnectReason::Client(Some(close)) => close.code().get() == GOING_AWAY,
        _ => false,
    }
}
