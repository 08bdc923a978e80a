//! What a heartbeat hook decides.

use std::borrow::Cow;

use crate::websocket::{Close, CloseCode};

/// How the server reacts to a heartbeat: the return type of a `#[heartbeat]` hook.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Liveness {
    /// Send the usual answer, the text `q`.
    Alive,
    /// Send this text instead.
    Answer(Cow<'static, str>),
    /// Send nothing.
    Silent,
    /// Close the connection.
    Close(Close),
}

impl Liveness {
    /// Sends this text instead of `q`.
    pub fn answer(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Answer(text.into())
    }

    /// Closes the connection with this code and reason.
    pub fn close(code: CloseCode, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Close(Close::new(code, reason))
    }
}
