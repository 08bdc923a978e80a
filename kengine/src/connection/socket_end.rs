//! How a socket ends: why, and how long the client's close frame is awaited; and how the session goes on after that if
//! the client can resume it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use crate::connection::resumption::Resumption;
use crate::protocol::DisconnectReason;

/// How a socket ends. An open connection keeps no storage for it, unless the client can resume its session.
#[derive(Default)]
pub(super) struct SocketEnd(Option<Box<KnownEnd>>);

/// Reasons are boxed, because nearly all connections that have this can resume their sessions and have no reason.
#[derive(Default)]
struct KnownEnd {
    resumption: Option<Resumption>,
    /// How the client's input has ended, if it has: with a close frame, a violation of the protocol, or the loss of the
    /// connection. This takes effect when all messages before it are handled.
    input: Option<Box<DisconnectReason>>,
    /// Why the connection ends, once it does.
    reason: Option<Box<DisconnectReason>>,
    /// Most connections end before they would wait for it, and setting a timer may cost a system call.
    close_timeout: Option<Pin<Box<Sleep>>>,
}

impl SocketEnd {
    /// Whether nothing is known that would end the connection, and the client cannot resume its session.
    #[inline]
    pub(super) fn is_unset(&self) -> bool {
        self.0.is_none()
    }

    /// Returns how the client's input has ended, if it has.
    #[inline]
    pub(super) fn input(&self) -> Option<&DisconnectReason> {
        self.0.as_ref().and_then(|known| known.input.as_deref())
    }

    /// Records how the client's input has ended.
    pub(super) fn end_input(&mut self, reason: DisconnectReason) {
        self.0.get_or_insert_default().input = Some(Box::new(reason));
    }

    /// Records that input may come again, over a new socket.
    pub(super) fn reopen_input(&mut self) {
        if let Some(known) = &mut self.0 {
            known.input = None;
        }
    }

    /// Records why the connection ends. The first reason stays.
    pub(super) fn set_reason(&mut self, reason: DisconnectReason) {
        self.0.get_or_insert_default().reason.get_or_insert_with(|| Box::new(reason));
    }

    /// Takes why the connection has ended.
    pub(super) fn take_reason(&mut self) -> DisconnectReason {
        self.0.as_mut().and_then(|known| known.reason.take()).map_or(DisconnectReason::Lost, |reason| *reason)
    }

    /// Waits for the end of the close timeout, which begins with the first call.
    pub(super) fn poll_close_timeout(&mut self, cx: &mut Context<'_>, close_timeout: Duration) -> Poll<()> {
        let known = self.0.get_or_insert_default();
        known.close_timeout.get_or_insert_with(|| Box::pin(sleep(close_timeout))).as_mut().poll(cx)
    }

    /// Returns how the client resumes its session, if it can.
    #[inline]
    pub(super) fn resumption(&mut self) -> Option<&mut Resumption> {
        self.0.as_mut().and_then(|known| known.resumption.as_mut())
    }

    /// Whether the client can resume its session.
    #[inline]
    pub(super) fn is_resumable(&self) -> bool {
        self.0.as_ref().is_some_and(|known| known.resumption.is_some())
    }

    /// Sets how the client resumes its session; `None` if it cannot any more.
    pub(super) fn set_resumption(&mut self, resumption: Option<Resumption>) {
        if resumption.is_some() || self.is_resumable() {
            self.0.get_or_insert_default().resumption = resumption;
        }
    }
}
