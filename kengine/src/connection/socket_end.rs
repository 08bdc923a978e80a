//! How a socket ends: why, and how long the client's close frame is awaited.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use crate::protocol::DisconnectReason;

/// How a socket ends. An open connection keeps no storage for it.
#[derive(Default)]
pub(super) struct SocketEnd(Option<Box<KnownEnd>>);

#[derive(Default)]
struct KnownEnd {
    /// How the client's input has ended, if it has: with a close frame, a violation of the protocol, or the loss of the
    /// connection. This takes effect when all messages before it are handled.
    input: Option<DisconnectReason>,
    /// Why the connection ends, once it does.
    reason: Option<DisconnectReason>,
    /// Most connections end before they would wait for it, and setting a timer may cost a system call.
    close_timeout: Option<Pin<Box<Sleep>>>,
}

impl SocketEnd {
    /// Returns how the client's input has ended, if it has.
    #[inline]
    pub(super) fn input(&self) -> Option<&DisconnectReason> {
        self.0.as_ref().and_then(|known| known.input.as_ref())
    }

    /// Records how the client's input has ended.
    pub(super) fn end_input(&mut self, reason: DisconnectReason) {
        self.0.get_or_insert_default().input = Some(reason);
    }

    /// Records why the connection ends. The first reason stays.
    pub(super) fn set_reason(&mut self, reason: DisconnectReason) {
        self.0.get_or_insert_default().reason.get_or_insert(reason);
    }

    /// Takes why the connection has ended.
    pub(super) fn take_reason(&mut self) -> DisconnectReason {
        self.0.as_mut().and_then(|known| known.reason.take()).unwrap_or(DisconnectReason::Lost)
    }

    /// Waits for the end of the close timeout, which begins with the first call.
    pub(super) fn poll_close_timeout(&mut self, cx: &mut Context<'_>, close_timeout: Duration) -> Poll<()> {
        let known = self.0.get_or_insert_default();
        known.close_timeout.get_or_insert_with(|| Box::pin(sleep(close_timeout))).as_mut().poll(cx)
    }
}
