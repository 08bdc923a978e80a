//! The fan-out of pushes to the outboxes of this node: each push is encoded once, and all receivers share the frame.

use std::sync::Arc;

use crate::node_state::errors::SendError;
use crate::node_state::limits::{Limits, OutboxLimits};
use crate::node_state::outbox::{Backlog, Outbox};
use crate::node_state::recipient::Recipient;
use crate::protocol::resumption::KeyedFrame;
use crate::protocol::{Push, Syntax, push};

/// What the fan-out on this node needs: the syntaxes of its endpoints and the limits of its outboxes.
#[derive(Debug)]
pub(crate) struct FanOut {
    /// Each syntax once.
    pub(crate) syntaxes: Vec<&'static Syntax>,
    outbox: OutboxLimits,
    /// The total size of all outboxes.
    pub(crate) backlog: Arc<Backlog>,
}

/// A push as frames, one per syntax that receivers may have.
#[derive(Clone, Debug)]
pub(crate) struct EncodedPush {
    /// One frame, unless the endpoints of the server have different syntaxes. All have the same key.
    pub(crate) frames: Vec<(&'static Syntax, KeyedFrame)>,
}

impl EncodedPush {
    /// Returns the frame for a receiver's syntax.
    fn frame(&self, syntax: &'static Syntax) -> Option<&KeyedFrame> {
        let is_same = |known: &'static Syntax| std::ptr::eq(known, syntax) || known == syntax;
        self.frames.iter().find(|(known, _)| is_same(known)).map(|(_, frame)| frame)
    }
}

impl FanOut {
    pub(crate) fn new(syntaxes: Vec<&'static Syntax>, limits: &Limits) -> Self {
        let max = limits.max_total_outbox_size;
        let backlog = if limits.resume_within.is_some() { Backlog::counting_shared(max) } else { Backlog::new(max) };
        Self { syntaxes, outbox: limits.outbox, backlog: Arc::new(backlog) }
    }

    /// Encodes a push for every endpoint. This runs the user's `Serialize`, so no lock may be held. If the push cannot
    /// be encoded for some of the endpoints, the error is returned with it: a push that is not an object cannot be
    /// encoded in a flat syntax.
    ///
    /// # Errors
    ///
    /// `Encode` if the push cannot be encoded for any endpoint, `TooLarge` if no outbox would take it.
    pub(crate) fn encode<P: Push + ?Sized>(&self, push: &P) -> Result<(EncodedPush, Option<SendError>), SendError> {
        let key = push::key_of(push)?;
        let mut encoded = EncodedPush { frames: Vec::with_capacity(self.syntaxes.len()) };
        let mut failure = None;
        for syntax in &self.syntaxes {
            match push::encode(push, **syntax, None) {
                Ok(frame) if frame.len() > self.outbox.max_size => {
                    return Err(SendError::TooLarge(frame.len()));
                }
                Ok(frame) => encoded.frames.push((syntax, self.backlog.share(frame, key.clone()))),
                Err(error) => failure = Some(error.into()),
            }
        }
        match failure {
            Some(failure) if encoded.frames.is_empty() => Err(failure),
            failure => Ok((encoded, failure)),
        }
    }

    /// Returns a push of another node with frames that count for this one, if shared frames do so.
    pub(crate) fn share(&self, push: &EncodedPush) -> Option<EncodedPush> {
        // Another node in memory may count shared frames although this one does not.
        let counts_here = |(_, frame): &(_, KeyedFrame)| frame.own_size() == frame.size();
        if !self.backlog.counts_shared() && push.frames.iter().all(counts_here) {
            return None;
        }
        let share = |frame: &KeyedFrame| self.backlog.share(frame.bytes().to_vec(), frame.key().cloned());
        Some(EncodedPush { frames: push.frames.iter().map(|(syntax, frame)| (*syntax, share(frame))).collect() })
    }

    /// Queues an encoded push for one receiver. Returns whether it was queued, or `None` if it has no frame in the
    /// receiver's syntax.
    pub(crate) fn send(&self, to: &dyn Recipient, push: &EncodedPush) -> Option<bool> {
        let frame = push.frame(to.state().syntax)?;
        // An error means that this receiver is ending or has ended. The other receivers still get the push.
        Some(self.queue(&to.state().outbox, frame.clone()).is_ok())
    }

    /// Queues one frame.
    pub(crate) fn queue(&self, outbox: &Outbox, frame: KeyedFrame) -> Result<(), SendError> {
        outbox.push(frame, self.outbox, &self.backlog)
    }
}
