//! What a connection keeps so that its client can resume the session.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use crate::connection::resumables::{Arrival, Resumables};
use crate::node_state::{ConnectionId, OutboxLimits, Recipient};
use crate::protocol::resumption::{Exchange, ResumeAnswer, Token, Tokens};

/// How long a received message may be unacknowledged.
const ACK_AFTER: Duration = Duration::from_secs(5);
/// The messages that are kept are reported to the outbox in steps of this number of bytes.
const REPORT_STEP: usize = 4 * 1024;

/// What a connection keeps so that its client can resume the session. Dropping it makes the session's tokens invalid.
pub(super) struct Resumption {
    pub(super) exchange: Exchange,
    tokens: Tokens,
    sessions: Arc<Resumables>,
    /// While the client is away, ends the wait for it. Otherwise ends the wait before an acknowledgement.
    timer: Option<Pin<Box<Sleep>>>,
    /// The size of the exchange that the outbox was told, in steps.
    reported: u32,
    /// How often the session was suspended or resumed since the dispatcher was told, at most twice.
    untold: u8,
    /// Whether the dispatcher was told last that the session is suspended.
    is_told_away: bool,
}

/// What the dispatcher must be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PresenceChange {
    Suspended,
    Resumed,
}

impl Resumption {
    /// Makes the session of a connection resumable. Returns the first message for the client, too: `resumed` is false if
    /// the client wanted to resume another session.
    pub(super) fn begin(
        sessions: Arc<Resumables>,
        recipient: &Arc<dyn Recipient>,
        resumed: Option<bool>,
    ) -> (Self, ResumeAnswer) {
        let tokens = Tokens::new(Token::random());
        let answer = ResumeAnswer::begun(sessions.add(&tokens, recipient), resumed, sessions.within);
        let resumption = Self {
            exchange: Exchange::default(),
            tokens,
            sessions,
            timer: None,
            reported: 0,
            untold: 0,
            is_told_away: false,
        };
        (resumption, answer)
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

    /// Ready with the count to acknowledge with when a message has waited for it long enough. The timer is kept from one
    /// message to the next, so that it is set at most once per acknowledgement.
    pub(super) fn poll_ack(&mut self, cx: &mut Context<'_>) -> Poll<u64> {
        if self.timer.is_none() {
            if !self.exchange.has_unacknowledged_input() {
                return Poll::Pending;
            }
            self.timer = Some(Box::pin(sleep(ACK_AFTER)));
        }
        let is_due = self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
        if !is_due {
            return Poll::Pending;
        }
        self.timer = None;
        self.exchange.take_ack().map_or(Poll::Pending, Poll::Ready)
    }

    /// Forgets the oldest messages until the rest is within the limits of an outbox.
    pub(super) fn trim(&mut self, limits: OutboxLimits) {
        while self.exceeds(limits) && self.exchange.forget_oldest() {}
    }

    pub(super) fn exceeds(&self, limits: OutboxLimits) -> bool {
        self.exchange.len() > limits.max_pushes || self.exchange.size() > limits.max_size
    }

    /// Whether the outbox must be told the size of the exchange, because it has changed by a step.
    #[inline]
    pub(super) fn must_report(&mut self) -> bool {
        let steps = u32::try_from(self.exchange.size() / REPORT_STEP).unwrap_or(u32::MAX);
        mem::replace(&mut self.reported, steps) != steps
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

impl Drop for Resumption {
    fn drop(&mut self) {
        self.sessions.remove(&self.tokens);
    }
}
