//! One push for many: encoded once, shared by all who get it.

use bytes::Bytes;

use crate::{
    Push, SendError, Syntax,
    cluster::Parcel,
    hub::{Audience, Recipient},
    outbox::{Backlog, Bounds, Key},
    push,
};

/// One push on its way to many.
pub(crate) struct Broadcast<'p, P: ?Sized> {
    push: &'p P,
    key: Option<Key>,
    /// By what the receivers' endpoint speaks: one, unless a server's endpoints differ.
    frames: Vec<(&'static Syntax, Bytes)>,
}

impl<'p, P: Push + ?Sized> Broadcast<'p, P> {
    pub(crate) fn new(push: &'p P) -> Self {
        Self { push, key: push::key_of(push), frames: Vec::with_capacity(1) }
    }

    /// Queues the push for one receiver.
    ///
    /// # Errors
    ///
    /// `Encode` concerns the push; the others this receiver alone.
    pub(crate) fn send(
        &mut self,
        to: &dyn Recipient,
        bounds: Bounds,
        backlog: &Backlog,
    ) -> Result<(), SendError> {
        let frame = self.frame(to.syntax())?;
        to.outbox().push(frame, self.key.as_ref(), bounds, backlog)
    }

    /// The push as it goes to other nodes.
    ///
    /// # Errors
    ///
    /// `Encode`.
    pub(super) fn parcel(
        &mut self,
        audience: Audience,
        syntaxes: &[&'static Syntax],
    ) -> Result<Parcel, SendError> {
        let frames = syntaxes.iter().map(|syntax| Ok((**syntax, self.frame(syntax)?)));
        let frames = frames.collect::<Result<_, SendError>>()?;
        Ok(Parcel::Push { frames, key: self.key.clone(), audience })
    }

    fn frame(&mut self, syntax: &'static Syntax) -> Result<Bytes, SendError> {
        let same = |known: &'static Syntax| std::ptr::eq(known, syntax) || known == syntax;
        if let Some((_, frame)) = self.frames.iter().find(|(known, _)| same(known)) {
            return Ok(frame.clone());
        }
        let frame = push::encode(self.push, *syntax)?;
        self.frames.push((syntax, frame.clone()));
        Ok(frame)
    }
}
