//! One push for many: encoded once, shared by all who get it.

use bytes::Bytes;

use crate::{
    Push, SendError, Syntax,
    cluster::Parcel,
    hub::{Audience, Recipient},
    node::Node,
    outbox::Key,
    push,
};

/// One push on its way to many, encoded before anybody is looked for: the user's `Serialize` runs under no lock of ours.
pub(crate) struct Broadcast {
    key: Option<Key>,
    /// By what the receivers' endpoint speaks: one, unless a server's endpoints differ.
    frames: Vec<(&'static Syntax, Bytes)>,
    /// Why there is none for some: a push that is no struct cannot stand flat.
    failure: Option<SendError>,
}

impl Broadcast {
    /// Encodes a push for every endpoint.
    ///
    /// # Errors
    ///
    /// `Encode` when it can be encoded for none, `TooLarge` when no outbox would take it.
    pub(crate) fn new<P: Push + ?Sized>(push: &P, node: &Node) -> Result<Self, SendError> {
        let mut broadcast =
            Self { key: push::key_of(push), frames: Vec::with_capacity(node.syntaxes.len()), failure: None };
        for syntax in &node.syntaxes {
            match push::encode(push, **syntax) {
                Ok(frame) if frame.len() > node.limits.outbox.bytes => {
                    return Err(SendError::TooLarge(frame.len()));
                }
                Ok(frame) => broadcast.frames.push((syntax, frame)),
                Err(error) => broadcast.failure = Some(error.into()),
            }
        }
        match broadcast.failure.take() {
            Some(failure) if broadcast.frames.is_empty() => Err(failure),
            failure => Ok(Self { failure, ..broadcast }),
        }
    }

    /// Queues it for one receiver; whether that worked, or `None` if it cannot be encoded for this one.
    pub(crate) fn send(&self, to: &dyn Recipient, node: &Node) -> Option<bool> {
        let syntax = to.syntax();
        let same = |known: &'static Syntax| std::ptr::eq(known, syntax) || known == syntax;
        let (_, frame) = self.frames.iter().find(|(known, _)| same(known))?;
        // One who cannot take it ends, or has ended: nothing that concerns the others.
        Some(to.outbox().push(frame.clone(), self.key.as_ref(), node.limits.outbox, &node.backlog).is_ok())
    }

    /// The push as it goes to other nodes.
    pub(super) fn parcel(&self, audience: Audience) -> Parcel {
        let frames = self.frames.iter().map(|(syntax, frame)| (**syntax, frame.clone()));
        Parcel::Push { frames: frames.collect(), key: self.key.clone(), audience }
    }

    /// Why it could not be encoded for some.
    pub(super) fn into_failure(self) -> Option<SendError> {
        self.failure
    }
}
