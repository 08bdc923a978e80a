//! Messages that arrive while a handler runs, and wait until it has finished.

use std::{borrow::Cow, collections::VecDeque};

use crate::connection::buffers::READ_SIZE;
use crate::websocket::Message;

/// What a waiting message costs besides its content, in bytes, so that empty messages are bounded too.
const OVERHEAD: usize = size_of::<Incoming<'static>>();

/// A message from the client: borrowed from the read buffer, or owned.
pub(super) enum Incoming<'b> {
    Text(Cow<'b, str>),
    Binary(Cow<'b, [u8]>),
    /// A message that exceeds a limit per second: it is answered, but not handled.
    Refused(Cow<'b, [u8]>),
}

impl Incoming<'_> {
    pub(super) fn refused(self) -> Self {
        Self::Refused(match self {
            Self::Text(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
            Self::Text(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
            Self::Binary(bytes) | Self::Refused(bytes) => bytes,
        })
    }

    pub(super) fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    #[inline]
    pub(super) fn message(&self) -> Message<'_> {
        match self {
            Self::Text(text) => Message::Text(text),
            Self::Binary(bytes) | Self::Refused(bytes) => Message::Binary(bytes),
        }
    }

    fn cost(&self) -> usize {
        self.message().as_bytes().len() + OVERHEAD
    }
}

/// The messages that wait, in order. An idle connection keeps no storage for them.
#[derive(Default)]
pub(super) struct LookAhead(Option<Box<WaitingMessages>>);

#[derive(Default)]
struct WaitingMessages {
    messages: VecDeque<Incoming<'static>>,
    /// The cost of all messages in bytes.
    cost: usize,
}

impl LookAhead {
    /// Returns how many bytes may still be read ahead.
    pub(super) fn room(&self) -> usize {
        READ_SIZE.saturating_sub(self.0.as_ref().map_or(0, |waiting| waiting.cost))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|waiting| waiting.messages.is_empty())
    }

    pub(super) fn push(&mut self, message: Incoming<'_>) {
        let waiting = self.0.get_or_insert_default();
        waiting.cost += message.cost();
        waiting.messages.push_back(match message {
            Incoming::Text(text) => Incoming::Text(text.into_owned().into()),
            Incoming::Binary(bytes) => Incoming::Binary(bytes.into_owned().into()),
            Incoming::Refused(bytes) => Incoming::Refused(bytes.into_owned().into()),
        });
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<Incoming<'static>> {
        let waiting = self.0.as_mut()?;
        let message = waiting.messages.pop_front();
        match &message {
            Some(message) => waiting.cost -= message.cost(),
            None => self.0 = None,
        }
        message
    }
}
