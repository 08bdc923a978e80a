//! The decision of a heartbeat hook.

use std::borrow::Cow;

use crate::websocket::{Close, CloseCode};

/// How the server reacts to a heartbeat: the return type of a `#[heartbeat]` hook.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Liveness {
    /// Send the usual answer, which [`Server::heartbeat`](crate::Server::heartbeat) sets: `q` by default.
    Alive,
    /// Send this text instead.
    Answer(Cow<'static, str>),
    /// Send nothing.
    Silent,
    /// Close the connection.
    Close(Close),
}

impl Liveness {
    /// Creates an [`Answer`](Self::Answer): this text is sent instead of the usual answer.
    pub fn answer(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Answer(text.into())
    }

    /// Creates a [`Close`](Self::Close): the connection is closed with this code and reason.
    pub fn close(code: CloseCode, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Close(Close::new(code, reason))
    }
}
