//! The task of one connection: it runs `#[open]`, reads and handles messages in order, writes once per wake, runs
//! `#[close]`, and completes the close handshake.

use std::convert::Infallible;
use std::future::poll_fn;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::connection::buffers::{self, Buffers, READ_SIZE};
use crate::connection::departing::depart;
use crate::connection::endpoint::Endpoint;
use crate::connection::resumables::Resumability;
use crate::connection::resumption::{PresenceChange, Resumption};
use crate::connection::socket::Socket;
use crate::connection::taking_over::CarriedSession;
use crate::connection::transport::Transport;
use crate::dispatch::{Context, Dispatcher, Progress, request_id};
use crate::handles::Connection;
use crate::node::admission::Slot;
use crate::node_state::{call_catching, deferring, poll_catching, run_catching};
use crate::protocol::resumption::Token;
use crate::protocol::{Answer, Error};
use crate::websocket::{Close, CloseCode, Message};

/// How long `#[close]` may still run after the drain's deadline.
const LAST_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How much longer than the code of an earlier connection may run `#[open]` of the next one waits for it.
const TURN_MARGIN: Duration = Duration::from_secs(1);

/// An established connection.
pub(crate) struct ConnectionTask<D: Dispatcher> {
    endpoint: Arc<Endpoint<D>>,
    connection: Connection<D::Session>,
    socket: Socket,
}

impl<D: Dispatcher> ConnectionTask<D> {
    /// Registers the connection, runs `#[open]`, and handles `first`, the bytes that came right after the handshake.
    pub(crate) async fn start(
        endpoint: Arc<Endpoint<D>>,
        connection: Connection<D::Session>,
        transport: Transport,
        slot: Slot,
        resumability: Resumability,
        mut first: Vec<u8>,
    ) -> Self {
        tracing::debug!(connection = %connection.id(), "the connection is open");
        let recipient = connection.to_recipient();
        let (registration, has_uid) = slot.register(Arc::clone(&recipient));
        let mut socket = Socket::new(transport, registration);
        if let Some(sessions) = endpoint.resumables.as_ref().filter(|_| resumability != Resumability::Never && has_uid)
        {
            let resumed = (resumability == Resumability::Instead).then_some(false);
            socket.begin_resumption(Resumption::begin(Arc::clone(sessions), &recipient, resumed));
        }
        if !first.is_empty() {
            socket.record_read(first.len());
        }
        let mut task = Self { endpoint, connection, socket };
        let mut first = &mut first[..];
        if has_uid && task.waits_its_turn(&mut first).await {
            task.socket.begin_hooks();
            task.open(&mut first).await;
        }
        // Pushes of `#[open]` precede every answer, and a connection that is closed already handles no message.
        task.socket.receive_orders(&task.connection.state().outbox).await;
        if !first.is_empty() || task.socket.has_read_ahead() {
            Box::pin(task.handle(first, &mut Answer::default())).await;
        }
        task
    }

    /// Registers the connection of a session that has come from another node, whose client has used this token, and
    /// handles `first`, the bytes that came right after the handshake.
    pub(crate) async fn go_on(
        endpoint: Arc<Endpoint<D>>,
        CarriedSession { connection, exchange }: CarriedSession<D::Session>,
        transport: Transport,
        slot: Slot,
        used: Token,
        mut first: Vec<u8>,
    ) -> Self {
        tracing::debug!(connection = %connection.id(), "the session has come from another node");
        let recipient = connection.to_recipient();
        let mut socket = Socket::new(transport, slot.register_carried(Arc::clone(&recipient)));
        // `#[open]` has run on another node.
        socket.begin_hooks();
        if let Some(sessions) = &endpoint.resumables {
            let begun = Resumption::go_on_from(Arc::clone(sessions), exchange, used, &recipient);
            socket.go_on(begun, &connection.state().outbox);
        }
        let mut task = Self { endpoint, connection, socket };
        if !first.is_empty() {
            task.socket.record_read(first.len());
        }
        let mut first = &mut first[..];
        if task.waits_its_turn(&mut first).await {
            Box::pin(task.handle(first, &mut Answer::default())).await;
        }
        task
    }

    /// Serves the connection until its socket is closed.
    #[expect(clippy::while_let_loop, reason = "what `while let` matches on would stay in the idle task")]
    pub(crate) async fn run(&mut self) {
        // From now on another task may serve the socket.
        self.connection.state().outbox.forget_waker();
        self.socket.forget_timer();
        loop {
            // Boxed once per wake, so that an idle task does not reserve room for a handler's future.
            let handling = match poll_fn(|cx| self.poll_read(cx)).await {
                Some((buffers, read)) => Box::pin(self.handle_read(buffers, read)),
                None => break,
            };
            handling.await;
        }
        if self.socket.runs_hooks() {
            Box::pin(self.close_in_span()).await;
        }
        self.endpoint.node.finish(self.connection.state());
        poll_fn(|cx| self.poll_closed(cx)).await;
    }

    /// Completes the close handshake.
    fn poll_closed(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        self.socket.poll_closed(cx, &self.connection.state().outbox)
    }

    /// Waits until the handler and `#[close]` of the user's earlier connections on this node have ended. Returns
    /// `false` if this connection has ended before: `#[open]` or `#[resume]` does not run.
    async fn waits_its_turn(&mut self, first: &mut &mut [u8]) -> bool {
        let Self { endpoint, connection, socket, .. } = self;
        let node = &endpoint.node;
        if !node.must_wait_for_hooks(connection.state()) {
            return true;
        }
        // Boxed, because it is rare.
        let mut turn = Box::pin(node.hooks_have_run(connection.state()));
        // A handler and then a hook may take the handler timeout each.
        let mut timeout = Box::pin(sleep(node.limits.handler_timeout * 2 + TURN_MARGIN));
        poll_fn(|cx| {
            socket.poll_busy(cx, &connection.state().outbox, &|_| false, first);
            if socket.has_ended() {
                return Poll::Ready(false);
            }
            if turn.as_mut().poll(cx).is_ready() {
                return Poll::Ready(true);
            }
            timeout.as_mut().poll(cx).map(|()| {
                let uid = connection.uid().as_str();
                // Otherwise it would have been cancelled by now.
                tracing::error!(
                    uid,
                    "the code of an earlier connection blocks its thread; that of the next one does not wait for it"
                );
                true
            })
        })
        .await
    }

    /// Runs `#[open]`. If it fails, the connection is closed with 1011.
    async fn open(&mut self, first: &mut &mut [u8]) {
        let Self { endpoint, connection, socket, .. } = self;
        let opening = pin!(endpoint.dispatcher.open(Context::new(connection)));
        let error = match run_handler(connection, socket, first, opening, None).await {
            Ok(Ok(())) | Err(HandlerFailure::Abandoned) => return,
            Ok(Err(error)) => error,
            Err(failure) => failure.into_error(),
        };
        error.log("`#[open]` failed");
        connection.close(Close::new(CloseCode::INTERNAL_ERROR, error.message().to_owned()));
    }

    /// Waits for input. Returns buffers that hold it and its size in bytes, or `None` when the connection has ended.
    fn poll_read(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<(Box<Buffers>, usize)>> {
        let mut buffers = buffers::borrow();
        self.socket.lend(&mut buffers.out);
        match self.socket.poll_idle(cx, &self.connection.state().outbox, &mut buffers.read) {
            Poll::Ready(Some(read)) => Poll::Ready(Some((buffers, read))),
            unread => {
                self.socket.reclaim(&mut buffers.out);
                buffers::give_back(buffers);
                unread.map(|_| None)
            }
        }
    }

    /// Handles the messages in the buffers, of which this number of bytes was read, and gives the buffers back.
    async fn handle_read(&mut self, mut buffers: Box<Buffers>, read: usize) {
        let span = self.connection.span();
        let Buffers { read: bytes, answer, .. } = &mut *buffers;
        self.socket.set_just_read(read < READ_SIZE);
        deferring(span, pin!(self.handle(&mut bytes[..read], answer))).await;
        buffers::give_back(buffers);
        if read == READ_SIZE {
            // There is probably more to read: let other tasks run first.
            tokio::task::yield_now().await;
        }
    }

    /// Handles the messages in `bytes` and those that arrive meanwhile, one after another.
    async fn handle(&mut self, mut bytes: &mut [u8], answer: &mut Answer) {
        let Self { endpoint, connection, socket, .. } = self;
        loop {
            if socket.has_news() {
                Box::pin(tell(endpoint, connection, socket, &mut bytes)).await;
            }
            let Some(incoming) = socket.next_message(&mut bytes) else {
                if socket.is_asked_for() {
                    Box::pin(depart(endpoint, connection, socket)).await;
                }
                return;
            };
            consume_budget(socket).await;
            if connection.state().questions.take_answer(incoming.message(), connection.state().syntax) {
                continue;
            }
            answer.reset();
            if incoming.is_refused() {
                let context = Context::new(connection);
                let refusing = || endpoint.dispatcher.refuse(context, incoming.message(), &too_fast(), answer);
                if call_catching(refusing).is_err() {
                    answer.replace(&HandlerFailure::Panicked.into_error(), None);
                }
                socket.send(answer, &connection.state().outbox);
                if socket.is_full() {
                    flush(socket, connection, &mut bytes).await;
                }
                continue;
            }
            let progress = Progress::new(socket.read_at());
            let context = Context::of_message(connection, &progress);
            let handled = {
                let handling = pin!(endpoint.dispatcher.message(context, incoming.message(), answer));
                run_handler(connection, socket, &mut bytes, handling, Some(&progress)).await
            };
            match handled {
                Ok(()) => {}
                Err(HandlerFailure::Abandoned) => return,
                Err(failure) => {
                    if D::READS_LATE {
                        // `#[before]` may have failed, before the id after the payload was read.
                        answer.set_id(request_id(incoming.message(), D::SYNTAX));
                    }
                    let route = progress.route().map(|route| Endpoint::<D>::route_name(Some(route)));
                    answer.replace(&failure.into_error(), route);
                }
            }
            // The handler's pushes precede its answer.
            socket.take_pushes(&connection.state().outbox);
            socket.send(answer, &connection.state().outbox);
            let (route, failed) = (progress.route(), answer.has_failed());
            endpoint.counters.record(route, failed);
            tracing::trace!(
                connection = %connection.id(),
                route = Endpoint::<D>::route_name(route),
                failed,
                "a message was handled"
            );
            if connection.state().outbox.is_ending() {
                // The handler may have closed the connection: then no further message is handled.
                socket.receive_orders(&connection.state().outbox).await;
            }
            if socket.is_full() {
                flush(socket, connection, &mut bytes).await;
            }
        }
    }

    /// [`close`](Self::close) in the connection's span, which an idle task has no room for.
    async fn close_in_span(&mut self) {
        let span = self.connection.span();
        deferring(span, pin!(self.close())).await;
    }

    /// Runs `#[close]` after the connection has ended, and completes the close handshake meanwhile.
    async fn close(&mut self) {
        let Self { endpoint, connection, socket, .. } = self;
        let node = &endpoint.node;
        let reason = socket.take_reason();
        let deadline = async {
            node.abandoned().await;
            sleep(LAST_CLOSE_TIMEOUT).await;
        };
        let closing = endpoint.dispatcher.close(Context::new(connection), &reason);
        let serving = poll_fn(|cx| {
            let _ = socket.poll_closed(cx, &connection.state().outbox);
            Poll::<Infallible>::Pending
        });
        let closed = tokio::select! {
            biased;
            closed = run_catching(closing) => closed.unwrap_or_else(|_| Err(HandlerFailure::Panicked.into_error())),
            () = sleep(node.limits.handler_timeout) => Err(HandlerFailure::TimedOut.into_error()),
            () = deadline => Err(HandlerFailure::TimedOut.into_error()),
            never = serving => match never {},
        };
        if let Err(error) = closed {
            error.log("`#[close]` failed");
        }
        tracing::debug!(connection = %connection.id(), %reason, "the connection has ended");
    }
}

/// Lets other tasks run after about a hundred messages: handlers that never wait would keep this thread.
async fn consume_budget(socket: &mut Socket) {
    let mut consuming = pin!(tokio::task::consume_budget());
    poll_fn(|cx| {
        let polled = consuming.as_mut().poll(cx);
        if polled.is_pending() {
            socket.set_just_read(false);
        }
        polled
    })
    .await;
}

/// Writes what is queued, and lets other tasks run. Meanwhile no further message is handled, so a client that does not
/// read its answers gets no more of them.
async fn flush<S>(socket: &mut Socket, connection: &Connection<S>, rest: &mut &mut [u8]) {
    poll_fn(|cx| socket.poll_flushed(cx, &connection.state().outbox, rest)).await;
    tokio::task::yield_now().await;
}

/// Tells the dispatcher that the session was suspended or resumed.
async fn tell<D: Dispatcher>(
    endpoint: &Endpoint<D>,
    connection: &Connection<D::Session>,
    socket: &mut Socket,
    rest: &mut &mut [u8],
) {
    while let Some(change) = socket.next_news() {
        let context = Context::new(connection);
        let (told, hook) = match change {
            PresenceChange::Suspended => {
                let telling = pin!(endpoint.dispatcher.suspend(context));
                (run_handler(connection, socket, rest, telling, None).await, "`#[suspend]` failed")
            }
            PresenceChange::Resumed => {
                let telling = pin!(endpoint.dispatcher.resume(context));
                (run_handler(connection, socket, rest, telling, None).await, "`#[resume]` failed")
            }
        };
        match told {
            Ok(Ok(())) | Err(HandlerFailure::Abandoned) => {}
            Ok(Err(error)) => error.log(hook),
            Err(failure) => failure.into_error().log(hook),
        }
    }
}

/// Returns the answer to a message that is refused.
fn too_fast() -> Error {
    Error::new("rate_limited", "you send more than this server allows; slow down")
}

/// Why a handler gave no result.
enum HandlerFailure {
    /// The handler panicked. The panic is already logged.
    Panicked,
    TimedOut,
    /// The drain's deadline has passed: the handler is cancelled.
    Abandoned,
}

impl HandlerFailure {
    /// Returns the error that the client gets.
    fn into_error(self) -> Error {
        match self {
            Self::TimedOut => Error::new("timeout", "the handler took too long"),
            Self::Panicked | Self::Abandoned => Error::new("internal", "internal error"),
        }
    }
}

/// Runs a handler and serves the socket meanwhile. A handler that is ready at its first poll needs neither a timer nor
/// a poll of the socket. It is pinned by the caller, so that it is in memory once.
async fn run_handler<S, F: Future>(
    connection: &Connection<S>,
    socket: &mut Socket,
    rest: &mut &mut [u8],
    mut handler: Pin<&mut F>,
    progress: Option<&Progress>,
) -> Result<F::Output, HandlerFailure> {
    let mut timeout: Option<Pin<Box<Sleep>>> = None;
    let mut has_ended = false;
    poll_fn(|cx| {
        if let Poll::Ready(result) = poll_catching(handler.as_mut(), cx) {
            return Poll::Ready(result.map_err(|_| HandlerFailure::Panicked));
        }
        let take_answer =
            |message: Message<'_>| connection.state().questions.take_answer(message, connection.state().syntax);
        socket.poll_busy(cx, &connection.state().outbox, &take_answer, rest);
        if !socket.is_listening() {
            // A handler that waits for its client's answer would wait forever.
            connection.state().questions.close();
        }
        if socket.is_abandoned() {
            return Poll::Ready(Err(HandlerFailure::Abandoned));
        }
        let timeout = timeout.get_or_insert_with(|| {
            // The route's own limit, or the server's.
            let own = progress.and_then(Progress::timeout);
            Box::pin(sleep(own.unwrap_or(connection.node().limits.handler_timeout)))
        });
        if socket.has_ended() && !mem::replace(&mut has_ended, true) {
            // The user's next connection waits for the end of this handler, even if the route may take longer.
            let latest = Instant::now() + connection.node().limits.handler_timeout;
            if timeout.deadline() > latest {
                timeout.as_mut().reset(latest);
            }
        }
        timeout.as_mut().poll(cx).map(|()| Err(HandlerFailure::TimedOut))
    })
    .await
}
