//! The life of a connection: one task that reads, handles in order, and writes once per wake.

use std::{
    any::Any,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use tokio::time::{Sleep, sleep};

use super::{
    Connection, Stream,
    link::{Incoming, Link},
    workspace::{self, READ, Workspace},
};
use crate::{Answer, Dispatcher, Error, endpoint::Endpoint, node::Seat};

/// Answers past this many bytes are written before more messages are handled.
const FLUSH: usize = 64 * 1024;

/// One connection while it lives. Boxed by its task, whose own states then take next to nothing.
pub(crate) struct Life<D: Dispatcher> {
    endpoint: Arc<Endpoint<D>>,
    connection: Connection<D::Session>,
    link: Link,
    _seat: Seat,
}

impl<D: Dispatcher> Life<D> {
    pub(crate) fn new(
        endpoint: Arc<Endpoint<D>>,
        connection: Connection<D::Session>,
        stream: Stream,
        mut seat: Seat,
    ) -> Box<Self> {
        seat.take(&connection);
        let link = Link::new(stream, Arc::clone(&endpoint.node));
        Box::new(Self { endpoint, connection, link, _seat: seat })
    }

    /// Serves the connection to its end.
    pub(crate) async fn live(mut self: Box<Self>) {
        while let Some((mut workspace, read)) = poll_fn(|cx| self.poll_woken(cx)).await {
            let Workspace { read: bytes, answer, .. } = &mut *workspace;
            // Boxed, so that a player who says nothing pays for no handler's future: one allocation a wake.
            Box::pin(self.handle(&mut bytes[..read], answer)).await;
            workspace::give_back(workspace);
            if read == READ {
                // There is more: let the others have their turn first.
                tokio::task::yield_now().await;
            }
        }
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
    pub(crate) async fn handle(&mut self, mut bytes: &mut [u8], answer: &mut Answer) {
        let Self { endpoint, connection, link, .. } = self;
        while let Some(incoming) = link.next(&mut bytes) {
            answer.reset();
            if let Err(failure) = handle_one(endpoint, connection, link, &mut bytes, &incoming, answer).await
            {
                match failure {
                    Failure::Abandoned => return,
                    Failure::TimedOut => answer.replace(&Error::new("timeout", "the handler took too long")),
                    Failure::Panicked => answer.replace(&Error::new("internal", "internal error")),
                }
            }
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
            if link.queued() >= FLUSH {
                poll_fn(|cx| link.poll_flushed(cx, connection.outbox())).await;
            }
        }
    }
}

/// However the task ends, a panic of ours included, nothing is queued for it any more.
impl<D: Dispatcher> Drop for Life<D> {
    fn drop(&mut self) {
        self.connection.outbox().close();
        tracing::debug!(connection = %self.connection.id(), "closed");
    }
}

/// Why a handler's own answer does not count.
enum Failure {
    Panicked,
    TimedOut,
    Abandoned,
}

/// Runs the dispatcher on one message. A handler that is ready at once costs neither a timer nor a look at the
/// socket; while one waits, the link goes on.
async fn handle_one<D: Dispatcher>(
    endpoint: &Endpoint<D>,
    connection: &Connection<D::Session>,
    link: &mut Link,
    rest: &mut &mut [u8],
    incoming: &Incoming<'_>,
    answer: &mut Answer,
) -> Result<(), Failure> {
    let mut handling = pin!(endpoint.dispatcher.message(connection, incoming.frame(), answer));
    let mut limit: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        // A handler that panicked is never polled again, and the dispatcher's own state is the user's to keep
        // sound, as with a panic under a lock.
        match catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(cx))) {
            Ok(Poll::Ready(())) => return Poll::Ready(Ok(())),
            Ok(Poll::Pending) => {}
            Err(panic) => {
                let panic = words(&*panic);
                tracing::error!(connection = %connection.id(), panic, "a handler panicked");
                return Poll::Ready(Err(Failure::Panicked));
            }
        }
        link.poll_busy(cx, connection.outbox(), rest);
        if link.is_abandoned() {
            return Poll::Ready(Err(Failure::Abandoned));
        }
        let limit = limit.get_or_insert_with(|| Box::pin(sleep(connection.node().limits.handler)));
        limit.as_mut().poll(cx).map(|()| Err(Failure::TimedOut))
    })
    .await
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
}
