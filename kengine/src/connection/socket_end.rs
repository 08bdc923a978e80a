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

#[derive(Default)]
struct KnownEnd {
    resumption: Option<Resumption>,
    /// Boxed, because nearly all connections that have a `KnownEnd` can resume their sessions and have not ended.
    ended: Option<Box<Ended>>,
}

#[derive(Default)]
struct Ended {
    /// How the client's input has ended, if it has: with a close frame, a violation of the protocol, or the loss of the
    /// connection. This takes effect when all messages before it are handled.
    input: Option<DisconnectReason>,
    /// Why the connection ends, once it does.
    reason: Option<DisconnectReason>,
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
        self.0.as_ref().and_then(|known| known.ended.as_ref()?.input.as_ref())
    }

    /// Records how the client's input has ended.
    pub(super) fn end_input(&mut self, reason: DisconnectReason) {
        self.ended().input = Some(reason);
    }

    /// Records that input may come again, over a new socket.
    pub(super) fn reopen_input(&mut self) {
        if let Some(ended) = self.0.as_mut().and_then(|known| known.ended.as_mut()) {
            ended.input = None;
        }
    }

    /// Records why the connection ends. The first reason stays.
    pub(super) fn set_reason(&mut self, reason: DisconnectReason) {
        self.ended().reason.get_or_insert(reason);
    }

    /// Takes why the connection has ended.
    pub(super) fn take_reason(&mut self) -> DisconnectReason {
        self.0.as_mut().and_then(|known| known.ended.as_mut()?.reason.take()).unwrap_or(DisconnectReason::Lost)
    }

    /// Waits for the end of the close timeout, which begins with the first call.
    pub(super) fn poll_close_timeout(&mut self, cx: &mut Context<'_>, close_timeout: Duration) -> Poll<()> {
        self.ended().close_timeout.get_or_insert_with(|| Box::pin(sleep(close_timeout))).as_mut().poll(cx)
    }

    fn ended(&mut self) -> &mut Ended {
        self.0.get_or_insert_default().ended.get_or_insert_default()
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

    /// Whether the session may be handed over to another node.
    pub(super) fn hands_over(&self) -> bool {
        self.0.as_ref().and_then(|known| known.resumption.as_ref()).is_some_and(Resumption::hands_over)
    }

    /// Sets how the client resumes its session; `None` if it cannot any more.
    pub(super) fn set_resumption(&mut self, resumption: Option<Resumption>) {
        if resumption.is_some() || self.is_resumable() {
            self.0.get_or_insert_default().resumption = resumption;
        }
    }
}
