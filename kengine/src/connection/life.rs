//! The life of a connection: one task that greets, reads, handles in order, writes once per wake, and sees off.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep};
use tracing::Instrument;

use super::{
    Connection, Stream,
    link::Link,
    workspace::{self, READ, Workspace},
};
use crate::{
    Answer, Close, CloseCode, Dispatcher, Error, Frame,
    contained::{contained, poll_contained},
    endpoint::Endpoint,
    node::{Place, Seat},
    outbox::BATCH,
    wakes,
};

/// How long `#[close]` may still take when everyone is cut off.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One connection while it lives. Boxed by its task, whose own states then take next to nothing.
pub(crate) struct Life<D: Dispatcher> {
    endpoint: Arc<Endpoint<D>>,
    connection: Connection<D::Session>,
    link: Link,
    place: Place,
    /// Whether `#[open]` was run, which `#[close]` answers: not for one whose uid another connection keeps.
    is_greeted: bool,
}

impl<D: Dispatcher> Life<D> {
    /// Makes the connection known, greets it, and handles what came behind the handshake: `first`.
    pub(crate) async fn open(
        endpoint: Arc<Endpoint<D>>,
        connection: Connection<D::Session>,
        stream: Stream,
        seat: Seat,
        mut first: Vec<u8>,
    ) -> Box<Self> {
        tracing::debug!(connection = %connection.id(), "open");
        let (place, is_greeted) = seat.take(&connection);
        let link = Link::new(stream, Arc::clone(&endpoint.node));
        let mut life = Box::new(Self { endpoint, connection, link, place, is_greeted });
        let mut first = &mut first[..];
        if is_greeted {
            life.greet(&mut first).await;
        }
        // The greeting stands before every answer, and who is closed already is not heard.
        life.take_orders().await;
        life.handle(first, &mut Answer::default()).await;
        life
    }

    /// Serves the connection to its end.
    pub(crate) async fn live(mut self: Box<Self>) {
        while let Some((mut workspace, read)) = poll_fn(|cx| self.poll_woken(cx)).await {
            let Workspace { read: bytes, answer, .. } = &mut *workspace;
            // Boxed, so that a player who says nothing pays for no handler's future: one allocation a wake.
            let span = self.connection.span();
            wakes::put_off(Box::pin(self.handle(&mut bytes[..read], answer).instrument(span))).await;
            workspace::give_back(workspace);
            if read == READ {
                // There is more: let the others have their turn first.
                tokio::task::yield_now().await;
            }
        }
        let span = self.connection.span();
        wakes::put_off(Box::pin(self.see_off().instrument(span))).await;
    }

    /// Runs `#[open]`. A connection that it cannot greet is closed with 1011.
    async fn greet(&mut self, first: &mut &mut [u8]) {
        let Self { endpoint, connection, link, .. } = self;
        let opening = endpoint.dispatcher.open(crate::Context::new(connection));
        let failure = match beside(connection, link, first, opening).await {
            Ok(Ok(())) | Err(Failure::Abandoned) => return,
            Ok(Err(error)) => error,
            Err(failure) => failure.into(),
        };
        failure.trace("a connection could not be greeted");
        connection.close(Close::new(CloseCode::INTERNAL_ERROR, failure.message().to_owned()));
    }

    /// Takes what waits in the outbox now: pushes, and the order to close.
    async fn take_orders(&mut self) {
        poll_fn(|cx| {
            self.link.take_orders(cx, self.connection.outbox());
            Poll::Ready(())
        })
        .await;
    }

    /// Runs `#[close]`, when the socket is closed.
    async fn see_off(self: Box<Self>) {
        let Self { endpoint, connection, link, place, is_greeted } = *self;
        let reason = link.into_reason();
        if !is_greeted {
            return;
        }
        let node = &endpoint.node;
        // Nobody is there to take a push or to answer.
        connection.outbox().close(&node.backlog);
        connection.questions().close();
        let cut = async {
            node.abandoned().await;
            sleep(LAST_WORDS).await;
        };
        let closing = endpoint.dispatcher.close(crate::Context::new(&connection), &reason);
        let failure = tokio::select! {
            biased;
            closed = contained(closing) => match closed {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error),
                Err(_) => Some(Failure::Panicked.into()),
            },
            () = sleep(node.limits.handler) => Some(Failure::TimedOut.into()),
            () = cut => Some(Failure::TimedOut.into()),
        };
        if let Some(failure) = failure {
            failure.trace("a connection was not seen off");
        }
        tracing::debug!(connection = %connection.id(), %reason, "closed");
        drop(place);
    }

    /// Waits for bytes to handle: a workspace that holds them, and how many they are. `None` at the end.
    fn poll_woken(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Box<Workspace>, usize)>> {
        let mut workspace = workspace::borrow();
        self.link.lend(&mut workspace.out);
        match self.link.poll_idle(cx, self.connection.outbox(), &mut workspace.read) {
            Poll::Ready(Some(read)) => Poll::Ready(Some((workspace, read))),
            unread => {
                self.link.reclaim(&mut workspace.out);
                workspace::give_back(workspace);
                unread.map(|_| None)
            }
        }
    }

    /// Handles every message in `bytes`, and those that come while it does, one after another.
    async fn handle(&mut self, mut bytes: &mut [u8], answer: &mut Answer) {
        let Self { endpoint, connection, link, .. } = self;
        while let Some(incoming) = link.next(&mut bytes) {
            if connection.questions().take_answer(incoming.frame(), connection.syntax()) {
                continue;
            }
            answer.reset();
            let handling = endpoint.dispatcher.message(connection, incoming.frame(), answer);
            match beside(connection, link, &mut bytes, handling).await {
                Ok(()) => {}
                Err(Failure::Abandoned) => return,
                Err(failure) => answer.replace(&failure.into()),
            }
            connection.reset_handler_limit();
            // What a handler has pushed stands before its answer.
            link.take_pushes(connection.outbox());
            link.send(answer.frames());
            let (route, failed) = answer.outcome();
            endpoint.counters.record(route, failed);
            tracing::trace!(connection = %connection.id(), route = endpoint.route_name(route), failed, "handled");
            if connection.outbox().ends() {
                // Perhaps by this very handler: what is behind its message is not to be handled.
                poll_fn(|cx| {
                    link.take_orders(cx, connection.outbox());
                    Poll::Ready(())
                })
                .await;
            }
            if link.queued() >= BATCH {
                poll_fn(|cx| link.poll_flushed(cx, connection.outbox())).await;
            }
        }
    }
}

/// Why a handler's own answer does not count.
enum Failure {
    Panicked,
    TimedOut,
    Abandoned,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::TimedOut => Self::new("timeout", "the handler took too long"),
            Failure::Panicked | Failure::Abandoned => Self::new("internal", "internal error"),
        }
    }
}

/// Runs a handler while the link goes on. One that is ready at once costs neither a timer nor a look at the socket.
async fn beside<S, F: Future>(
    connection: &Connection<S>,
    link: &mut Link,
    rest: &mut &mut [u8],
    handling: F,
) -> Result<F::Output, Failure> {
    let mut handling = pin!(handling);
    let mut limit: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        if let Poll::Ready(handled) = poll_contained(handling.as_mut(), cx) {
            return Poll::Ready(handled.map_err(|_| Failure::Panicked));
        }
        let answers = |frame: Frame<'_>| connection.questions().take_answer(frame, connection.syntax());
        link.poll_busy(cx, connection.outbox(), &answers, rest);
        if link.hears_no_more() {
            // A handler that waits for its client's answer waits in vain.
            connection.questions().close();
        }
        if link.is_abandoned() {
            return Poll::Ready(Err(Failure::Abandoned));
        }
        let limit = limit.get_or_insert_with(|| Box::pin(sleep(connection.handler_limit())));
        limit.as_mut().poll(cx).map(|()| Err(Failure::TimedOut))
    })
    .await
}
