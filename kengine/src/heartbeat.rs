//! Liveness: heartbeats, and the time that a connection may stay silent.

use std::borrow::Cow;

use crate::{Answer, Close, CloseCode, Connection};

/// What to do about a heartbeat: the return type of a `#[heartbeat]` hook.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Liveness {
    /// Answer as usual: the text `q`.
    Alive,
    /// Answer with this text instead.
    Answer(Cow<'static, str>),
    /// Do not answer.
    Silent,
    /// Close the connection.
    Close(Close),
}

impl Liveness {
    /// Answer with this text instead of `q`.
    pub fn answer(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Answer(text.into())
    }

    /// Close the connection with this code and reason.
    pub fn close(code: CloseCode, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Close(Close::new(code, reason))
    }
}

/// The heartbeat a client sends and its usual answer.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeat {
    pub(crate) asks: Cow<'static, str>,
    pub(crate) answers: Cow<'static, str>,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { asks: "p".into(), answers: "q".into() }
    }
}

impl Liveness {
    /// Does what was decided.
    pub(crate) fn apply<S>(self, connection: &Connection<S>, answer: &mut Answer) {
        match self {
            Self::Alive => answer.text(&connection.node().limits.heartbeat.answers),
            Self::Answer(text) => answer.text(&text),
            Self::Silent => {}
            Self::Close(close) => connection.close(close),
        }
    }
}
