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

use crate::{
    connection::{
        buffers::{self, Buffers, READ},
        endpoint::Endpoint,
        socket::Socket,
        transport::Transport,
    },
    dispatch::{self, dispatcher::Dispatcher, progress::Progress},
    handles::connection::Connection,
    language::{answer::Answer, error::Error},
    local::{
        deferred_wakes,
        outbox::BATCH,
        panics::{poll_catching, run_catching},
    },
    node::{Occupant, Slot},
    websocket::{
        close::{Close, CloseCode},
        message::Message,
    },
};

/// How long `#[close]` may still take when everyone is cut off.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One connection while it lives. Boxed by its task, whose own states then take next to nothing.
pub(crate) struct ConnectionTask<D: Dispatcher> {
    endpoint: Arc<Endpoint<D>>,
    connection: Connection<D::Session>,
    socket: Socket,
    occupant: Occupant,
    /// Whether `#[open]` was run, which `#[close]` answers: not for one whose uid another connection keeps.
    is_greeted: bool,
}

impl<D: Dispatcher> ConnectionTask<D> {
    /// Makes the connection known, greets it, and handles what came behind the handshake: `first`.
    pub(crate) async fn start(
        endpoint: Arc<Endpoint<D>>,
        connection: Connection<D::Session>,
        transport: Transport,
        slot: Slot,
        mut first: Vec<u8>,
    ) -> Box<Self> {
        tracing::debug!(connection = %connection.id(), "open");
        let (occupant, is_greeted) = slot.occupy(connection.to_recipient());
        let socket = Socket::new(transport, Arc::clone(&endpoint.node));
        let mut task = Box::new(Self { endpoint, connection, socket, occupant, is_greeted });
        let mut first = &mut first[..];
        if is_greeted {
            task.greet(&mut first).await;
        }
        // The greeting stands before every answer, and who is closed already is not heard.
        task.take_orders().await;
        task.handle(first, &mut Answer::default()).await;
        task
    }

    /// Serves the connection to its end.
    pub(crate) async fn run(mut self: Box<Self>) {
        while let Some((mut buffers, read)) = poll_fn(|cx| self.poll_woken(cx)).await {
            let Buffers { read: bytes, answer, .. } = &mut *buffers;
            // Boxed, so that a player who says nothing pays for no handler's future: one allocation a wake.
            let span = self.connection.span();
            deferred_wakes::deferring(Box::pin(self.handle(&mut bytes[..read], answer).instrument(span)))
                .await;
            buffers::give_back(buffers);
            if read == READ {
                // There is more: let the others have their turn first.
                tokio::task::yield_now().await;
            }
        }
        let span = self.connection.span();
        deferred_wakes::deferring(Box::pin(self.see_off().instrument(span))).await;
    }

    /// Runs `#[open]`. A connection that it cannot greet is closed with 1011.
    async fn greet(&mut self, first: &mut &mut [u8]) {
        let Self { endpoint, connection, socket, .. } = self;
        let opening = endpoint.dispatcher.open(dispatch::context::Context::new(connection));
        let failure = match beside(connection, socket, first, opening, None).await {
            Ok(Ok(())) | Err(Failure::Abandoned) => return,
            Ok(Err(error)) => error,
            Err(failure) => failure.into(),
        };
        failure.log("a connection could not be greeted");
        connection.close(Close::new(CloseCode::INTERNAL_ERROR, failure.message().to_owned()));
    }

    /// Takes what waits in the outbox now: pushes, and the order to close.
    async fn take_orders(&mut self) {
        poll_fn(|cx| {
            self.socket.take_orders(cx, self.connection.outbox());
            Poll::Ready(())
        })
        .await;
    }

    /// Runs `#[close]`, when the socket is closed.
    async fn see_off(self: Box<Self>) {
        let Self { endpoint, connection, socket, occupant, is_greeted } = *self;
        let reason = socket.into_reason();
        if !is_greeted {
            return;
        }
        let node = &endpoint.node;
        // Nobody is there to take a push or to answer.
        connection.outbox().close(node.delivery().backlog());
        connection.questions().close();
        let cut = async {
            node.abandoned().await;
            sleep(LAST_WORDS).await;
        };
        let closing = endpoint.dispatcher.close(dispatch::context::Context::new(&connection), &reason);
        let failure = tokio::select! {
            biased;
            closed = run_catching(closing) => match closed {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error),
                Err(_) => Some(Failure::Panicked.into()),
            },
            () = sleep(node.limits().handler_timeout) => Some(Failure::TimedOut.into()),
            () = cut => Some(Failure::TimedOut.into()),
        };
        if let Some(failure) = failure {
            failure.log("a connection was not seen off");
        }
        tracing::debug!(connection = %connection.id(), %reason, "closed");
        drop(occupant);
    }

    /// Waits for bytes to handle: a buffers that holds them, and how many they are. `None` at the end.
    fn poll_woken(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Box<Buffers>, usize)>> {
        let mut buffers = buffers::borrow();
        self.socket.lend(&mut buffers.out);
        match self.socket.poll_idle(cx, self.connection.outbox(), &mut buffers.read) {
            Poll::Ready(Some(read)) => Poll::Ready(Some((buffers, read))),
            unread => {
                self.socket.reclaim(&mut buffers.out);
                buffers::give_back(buffers);
                unread.map(|_| None)
            }
        }
    }

    /// Handles every message in `bytes`, and those that come while it does, one after another.
    async fn handle(&mut self, mut bytes: &mut [u8], answer: &mut Answer) {
        let Self { endpoint, connection, socket, .. } = self;
        while let Some(incoming) = socket.next(&mut bytes) {
            if connection.questions().take_answer(incoming.message(), connection.syntax()) {
                continue;
            }
            answer.reset();
            let progress = Progress::new();
            let context = dispatch::context::Context::of_message(connection, &progress);
            let handling = endpoint.dispatcher.message(context, incoming.message(), answer);
            match beside(connection, socket, &mut bytes, handling, Some(&progress)).await {
                Ok(()) => {}
                Err(Failure::Abandoned) => return,
                Err(failure) => answer.replace(&failure.into()),
            }
            // What a handler has pushed stands before its answer.
            socket.take_pushes(connection.outbox());
            socket.send(answer.frames());
            let (route, failed) = (progress.route(), answer.has_failed());
            endpoint.counters.record(route, failed);
            tracing::trace!(connection = %connection.id(), route = endpoint.route_name(route), failed, "handled");
            if connection.outbox().is_ending() {
                // Perhaps by this very handler: what is behind its message is not to be handled.
                poll_fn(|cx| {
                    socket.take_orders(cx, connection.outbox());
                    Poll::Ready(())
                })
                .await;
            }
            if socket.queued() >= BATCH {
                poll_fn(|cx| socket.poll_flushed(cx, connection.outbox())).await;
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

#[diagnostic::do_not_recommend]
impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::TimedOut => Self::new("timeout", "the handler took too long"),
            Failure::Panicked | Failure::Abandoned => Self::new("internal", "internal error"),
        }
    }
}

/// Runs a handler while the socket goes on. One that is ready at once costs neither a timer nor a look at the socket.
async fn beside<S, F: Future>(
    connection: &Connection<S>,
    socket: &mut Socket,
    rest: &mut &mut [u8],
    handling: F,
    progress: Option<&Progress>,
) -> Result<F::Output, Failure> {
    let mut handling = pin!(handling);
    let mut limit: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        if let Poll::Ready(handled) = poll_catching(handling.as_mut(), cx) {
            return Poll::Ready(handled.map_err(|_| Failure::Panicked));
        }
        let answers = |frame: Message<'_>| connection.questions().take_answer(frame, connection.syntax());
        socket.poll_busy(cx, connection.outbox(), &answers, rest);
        if socket.hears_no_more() {
            // A handler that waits for its client's answer waits in vain.
            connection.questions().close();
        }
        if socket.is_abandoned() {
            return Poll::Ready(Err(Failure::Abandoned));
        }
        let limit = limit.get_or_insert_with(|| Box::pin(sleep(time_limit(connection, progress))));
        limit.as_mut().poll(cx).map(|()| Err(Failure::TimedOut))
    })
    .await
}

/// Returns how long a handler may run: its route's own limit, or the server's.
fn time_limit<S>(connection: &Connection<S>, progress: Option<&Progress>) -> Duration {
    let own = progress.and_then(Progress::timeout);
    own.unwrap_or(connection.node().limits().handler_timeout)
}
