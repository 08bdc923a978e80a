//! What a connection keeps so that its client can resume the session.

use std::mem;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use crate::connection::departures::{DepartureDue, Offered};
use crate::connection::resumables::{Arrival, Resumables};
use crate::node_state::{Asker, Backlog, ConnectionId, HandOverStep, Outbox, OutboxLimits, Recipient};
use crate::protocol::resumption::{Exchange, ResumeAnswer, Token, Tokens};

/// How long a received message may be unacknowledged.
const ACK_AFTER: Duration = Duration::from_secs(5);
/// The messages that are kept are reported to the outbox in steps of this number of bytes.
const REPORT_STEP: usize = 4 * 1024;
/// How long another node may take to take a session that is given to it. It gives up earlier.
const TAKE_TIMEOUT: Duration = Duration::from_secs(6);
/// The pause before it is tried again to find out whether the other node has the session.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What a connection keeps so that its client can resume the session. Dropping it makes the session's tokens invalid.
#[expect(clippy::struct_excessive_bools, reason = "each holds alone, and they take one byte each")]
pub(super) struct Resumption {
    pub(super) exchange: Exchange,
    tokens: Tokens,
    sessions: Arc<Resumables>,
    /// While the client is away, ends the wait for it. Otherwise ends the wait before an acknowledgement.
    timer: Option<Pin<Box<Sleep>>>,
    /// The earliest time at which the wait before an acknowledgement may be over, as [coarse time](coarse).
    ack_at: u32,
    /// The size of the exchange that the outbox was told, in steps.
    reported: u32,
    /// How often the session was suspended or resumed since the dispatcher was told, at most twice.
    untold: u8,
    /// Whether the dispatcher was told last that the session is suspended.
    is_told_away: bool,
    /// Whether the session's task must look after its hand-over.
    is_asked_for: bool,
    /// Whether messages were read just now, and the task has not paused since.
    has_just_read: bool,
    /// The place, among what is written, of the answers that are not kept yet. Empty if there are none.
    unkept: Range<u32>,
    /// The number of these answers.
    unkept_len: u16,
    /// Whether messages were sent or acknowledged since the size of what is kept was last checked.
    is_unchecked: bool,
}

/// What the dispatcher must be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PresenceChange {
    Suspended,
    Resumed,
}

impl Resumption {
    /// Makes the session of a connection resumable. Returns the first message for the client, too: `resumed` is false
    /// if the client wanted to resume another session.
    pub(super) fn begin(
        sessions: Arc<Resumables>,
        recipient: &Arc<dyn Recipient>,
        resumed: Option<bool>,
    ) -> (Self, ResumeAnswer) {
        let tokens = Tokens::new(Token::random());
        let answer = ResumeAnswer::begun(sessions.add(&tokens, recipient), resumed, sessions.within);
        let resumption = Self::new(Exchange::default(), tokens, sessions);
        (resumption, answer)
    }

    /// Goes on with a session of another node, whose client has come back with this token. Returns the first message
    /// for the client, too.
    pub(super) fn go_on_from(
        sessions: Arc<Resumables>,
        exchange: Exchange,
        used: Token,
        recipient: &Arc<dyn Recipient>,
    ) -> (Self, ResumeAnswer) {
        let tokens = Tokens::after(used, Token::random());
        let answer = ResumeAnswer::resumed(sessions.add(&tokens, recipient), exchange.received(), sessions.within);
        let mut resumption = Self::new(exchange, tokens, sessions);
        // The dispatcher of the other node was told that the session is suspended.
        (resumption.untold, resumption.is_told_away) = (1, true);
        (resumption, answer)
    }

    fn new(exchange: Exchange, tokens: Tokens, sessions: Arc<Resumables>) -> Self {
        Self {
            exchange,
            tokens,
            sessions,
            timer: None,
            ack_at: 0,
            reported: 0,
            untold: 0,
            is_told_away: false,
            is_asked_for: false,
            has_just_read: false,
            unkept: 0..0,
            unkept_len: 0,
            is_unchecked: false,
        }
    }

    /// Whether the session may be handed over to another node.
    pub(super) fn hands_over(&self) -> bool {
        self.sessions.hands_over
    }

    /// Whether the session's task must look after its hand-over.
    #[inline]
    pub(super) fn is_asked_for(&self) -> bool {
        self.is_asked_for
    }

    /// Lets the session's task look after its hand-over.
    pub(super) fn call(&mut self) {
        self.is_asked_for = self.sessions.hands_over;
    }

    /// Returns what the task must do for the hand-over.
    pub(super) fn take_departure(&mut self, id: ConnectionId, is_given: bool) -> Option<DepartureDue> {
        self.is_asked_for = false;
        self.sessions.with_departures(|departures| departures.due(id, is_given))
    }

    /// Ends the hand-over, unless it is too late for that: then this returns `false`.
    pub(super) fn cancel_departure(&self, id: ConnectionId, step: HandOverStep) -> bool {
        self.sessions.cancel_departure(id, step)
    }

    /// Records that the session is offered like this. Returns the number of the offer, or `None` if the asker has given
    /// up.
    pub(super) fn offer(&self, id: ConnectionId, asker: &Asker, offered: Offered) -> Option<u64> {
        self.sessions.with_departures(|departures| departures.offer(id, asker, offered))
    }

    /// Whether the session was offered like this.
    pub(super) fn has_offered(&self, id: ConnectionId, now: &Offered) -> bool {
        self.sessions.with_departures(|departures| departures.has_offered(id, now))
    }

    /// Records that this node has parted with the session, and begins to wait until the other node has it.
    pub(super) fn give(&mut self, id: ConnectionId) {
        self.sessions.given(id, &self.tokens);
        self.exchange = Exchange::default();
        self.timer = Some(Box::pin(sleep(TAKE_TIMEOUT)));
    }

    /// Waits a little before the other node is asked for again. Returns `false` if that has been tried too often.
    pub(super) fn wait_again(&mut self, id: ConnectionId) -> bool {
        self.timer = Some(Box::pin(sleep(RETRY_PAUSE)));
        self.sessions.with_departures(|departures| departures.may_try_again(id))
    }

    /// Forgets the hand-over of a session that this node has parted with.
    pub(super) fn end_departure(&self, id: ConnectionId) {
        let _ended = self.sessions.with_departures(|departures| departures.remove(id));
    }

    /// Returns the client that has come back, if it has.
    pub(super) fn take_arrival(&self, id: ConnectionId) -> Option<Arrival> {
        self.sessions.take_arrival(id)
    }

    /// Whether the session can be resumed with this token.
    pub(super) fn has(&self, token: Token) -> bool {
        self.tokens.valid().any(|valid| valid == token)
    }

    /// Gives the client that has come back with this token another one. Returns its first message.
    pub(super) fn go_on(&mut self, used: Token, recipient: &Arc<dyn Recipient>) -> ResumeAnswer {
        let invalid = self.tokens.renew(used, Token::random());
        let token = self.sessions.add(&self.tokens, recipient);
        if let Some(invalid) = invalid {
            self.sessions.forget(invalid);
        }
        self.timer = None;
        self.note_change();
        ResumeAnswer::resumed(token, self.exchange.received(), self.sessions.within)
    }

    /// Records that the client has got its last token, because it has sent something after that.
    #[inline]
    pub(super) fn confirm(&mut self) {
        if let Some(invalid) = self.tokens.confirm() {
            self.sessions.forget(invalid);
        }
    }

    /// Begins to wait for the client.
    pub(super) fn wait(&mut self) {
        self.timer = Some(Box::pin(sleep(self.sessions.within)));
        self.note_change();
    }

    /// Ready when the client has not come back in time.
    pub(super) fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.as_mut().map_or(Poll::Pending, |timer| timer.as_mut().poll(cx))
    }

    /// Ends the wait before an acknowledgement. It begins anew.
    pub(super) fn forget_timer(&mut self) {
        self.timer = None;
    }

    /// Records whether messages were read just now, and the task has not paused since. Otherwise it may have been woken
    /// for another reason.
    #[inline]
    pub(super) fn set_just_read(&mut self, has_just_read: bool) {
        self.has_just_read = has_just_read;
    }

    /// Whether a message waits to be acknowledged, and its time may have come. `read_at` is when bytes were read last.
    #[inline]
    pub(super) fn waits_for_ack(&mut self, read_at: u64) -> bool {
        let has_just_read = mem::take(&mut self.has_just_read);
        match self.timer {
            None => self.exchange.has_unacknowledged_input(),
            // If the timer had woken the task, it would be later.
            Some(_) => !has_just_read || coarse(read_at) >= self.ack_at,
        }
    }

    /// Ready with the count to acknowledge with when a message has waited for it long enough. The timer is kept from
    /// one message to the next, so that it is set at most once per acknowledgement.
    pub(super) fn poll_ack_timer(&mut self, cx: &mut Context<'_>, read_at: u64) -> Poll<u64> {
        if self.timer.is_none() {
            self.ack_at = coarse(read_at + ACK_AFTER.as_secs() * 1_000_000_000);
            self.timer = Some(Box::pin(sleep(ACK_AFTER)));
        }
        let is_due = self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
        if !is_due {
            return Poll::Pending;
        }
        self.timer = None;
        self.exchange.take_ack().map_or(Poll::Pending, Poll::Ready)
    }

    /// Records that an answer is in `out` from `start` on, and will be kept together with those before it: before
    /// anything else is kept or the socket is served. Returns whether that is possible.
    #[inline]
    pub(super) fn record_answer(&mut self, out: &[u8], start: usize, heartbeat: &str) -> bool {
        let (Ok(first), Ok(end)) = (u32::try_from(start), u32::try_from(out.len())) else { return false };
        let is_next = self.unkept_len == 0 || (self.unkept.end == first && self.unkept_len < u16::MAX);
        let is_recorded = is_next && Exchange::counts_one_copy(&out[start..], heartbeat.as_bytes());
        if is_recorded {
            if self.unkept_len == 0 {
                self.unkept.start = first;
            }
            self.unkept.end = end;
            self.unkept_len += 1;
            self.is_unchecked = true;
        }
        is_recorded
    }

    /// Keeps the answers that were recorded until the client acknowledges them.
    #[inline]
    pub(super) fn keep_answers(&mut self, out: &[u8]) {
        if self.unkept_len > 0 {
            let frames = &out[self.unkept.start as usize..self.unkept.end as usize];
            self.exchange.record_counted_copies(frames, usize::from(mem::take(&mut self.unkept_len)));
        }
    }

    /// Records that messages are about to be sent, or were acknowledged.
    #[inline]
    pub(super) fn mark_unchecked(&mut self) {
        self.is_unchecked = true;
    }

    /// Whether messages were sent or acknowledged since the size of what is kept was last checked.
    #[inline]
    pub(super) fn is_unchecked(&self) -> bool {
        self.is_unchecked
    }

    /// Forgets the oldest messages until the rest is within the limits. Returns whether the outbox must be told the
    /// size of the rest, because it has changed by a step.
    pub(super) fn check_size(&mut self, limits: OutboxLimits) -> bool {
        self.is_unchecked = false;
        self.trim(limits);
        self.reported != steps(self.exchange.size())
    }

    /// Tells the outbox the size of what is kept.
    pub(super) fn report(&mut self, is_away: bool, outbox: &Outbox, backlog: &Backlog) {
        self.reported = steps(self.exchange.size());
        outbox.set_kept(&self.exchange, is_away, backlog);
    }

    /// Keeps frames until the client acknowledges them, except for those that answer heartbeats.
    pub(super) fn keep_frames(&mut self, frames: &[u8], heartbeat: &str) {
        self.exchange.record_copies(frames, heartbeat.as_bytes());
    }

    /// Forgets the oldest messages until the rest is within the limits of an outbox.
    pub(super) fn trim(&mut self, limits: OutboxLimits) {
        while self.exceeds(limits) && self.exchange.forget_oldest() {}
    }

    pub(super) fn exceeds(&self, limits: OutboxLimits) -> bool {
        let (len, size) = self.exchange.extent();
        len > limits.max_pushes || size > limits.max_size
    }

    fn note_change(&mut self) {
        // Two changes that nobody was told of are told, and any further two are not.
        self.untold = if self.untold < 2 { self.untold + 1 } else { 1 };
    }

    /// Whether the dispatcher must be told something.
    #[inline]
    pub(super) fn has_news(&self) -> bool {
        self.untold > 0
    }

    /// Returns what the dispatcher must be told next.
    pub(super) fn next_news(&mut self) -> Option<PresenceChange> {
        self.untold = self.untold.checked_sub(1)?;
        self.is_told_away = !self.is_told_away;
        Some(if self.is_told_away { PresenceChange::Suspended } else { PresenceChange::Resumed })
    }
}

/// Returns a time on the node's clock, in nanoseconds, in units of about a second, so that it takes little memory. They
/// suffice for 146 years.
#[inline]
fn coarse(time: u64) -> u32 {
    u32::try_from(time >> 30).unwrap_or(u32::MAX)
}

/// Returns in how many steps this number of bytes is reported.
#[inline]
fn steps(bytes: usize) -> u32 {
    u32::try_from(bytes / REPORT_STEP).unwrap_or(u32::MAX)
}

impl Drop for Resumption {
    fn drop(&mut self) {
        self.sessions.remove(&self.tokens);
    }
}
