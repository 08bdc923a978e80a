//! The fan-out of pushes to the outboxes of this node: each push is encoded once, and all receivers share the frame.

use std::sync::Arc;

use bytes::Bytes;

use crate::node_state::errors::SendError;
use crate::node_state::limits::{Limits, OutboxLimits};
use crate::node_state::outbox::{Backlog, Outbox};
use crate::node_state::recipient::Recipient;
use crate::protocol::{Push, PushKey, Syntax, push};

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
    /// The key of a `latest` push.
    pub(crate) key: Option<PushKey>,
    /// One frame, unless the endpoints of the server have different syntaxes.
    pub(crate) frames: Vec<(&'static Syntax, Bytes)>,
}

impl EncodedPush {
    /// Returns the frame for a receiver's syntax.
    fn frame(&self, syntax: &'static Syntax) -> Option<&Bytes> {
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
        let mut encoded = EncodedPush { key: push::key_of(push)?, frames: Vec::with_capacity(self.syntaxes.len()) };
        let mut failure = None;
        for syntax in &self.syntaxes {
            match push::encode(push, **syntax, None) {
                Ok(frame) if frame.len() > self.outbox.max_size => {
                    return Err(SendError::TooLarge(frame.len()));
                }
                Ok(frame) => encoded.frames.push((syntax, self.backlog.share(frame))),
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
        if !self.backlog.counts_shared() {
            return None;
        }
        let frames = push.frames.iter().map(|(syntax, frame)| (*syntax, self.backlog.share(frame.clone()))).collect();
        Some(EncodedPush { key: push.key.clone(), frames })
    }

    /// Queues an encoded push for one receiver. Returns whether it was queued, or `None` if it has no frame in the
    /// receiver's syntax.
    pub(crate) fn send(&self, to: &dyn Recipient, push: &EncodedPush) -> Option<bool> {
        let frame = push.frame(to.state().syntax)?;
        // An error means that this receiver is ending or has ended. The other receivers still get the push.
        Some(self.queue(&to.state().outbox, frame.clone(), push.key.as_ref()).is_ok())
    }

    /// Queues one frame.
    pub(crate) fn queue(&self, outbox: &Outbox, frame: Bytes, key: Option<&PushKey>) -> Result<(), SendError> {
        outbox.push(frame, key, self.outbox, &self.backlog)
    }
}
