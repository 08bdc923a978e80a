//! Serves one socket that was accepted, until it becomes a connection or ends.
//!
//! A plain handshake is answered here. hyper serves every other request, and also the refusal of a plain handshake: it
//! reads the request again and writes the answer that is already known. So each request is checked once, and hyper
//! alone knows how pages, refusals and mistakes are answered.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use crate::connection::{Replayed, Transport};
use crate::http::{Body, read_plain_head};
use crate::node_state::BoxFuture;
use crate::protocol::logged;
use crate::server::pending_handshakes::PendingHandshake;
use crate::server::routes::Routes;
use crate::server::upgrade::{Answered, Opened, StartingConnection};

/// How long pages are served on one socket. This bounds how long a client that does not read its page keeps the socket.
const PAGES_TIMEOUT: Duration = Duration::from_secs(60);
/// How much of a request hyper buffers before it answers 431 itself, in bytes.
const MAX_REQUEST_BUFFER: usize = 64 * 1024;

/// Who connects to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListenerKind {
    /// Players, whose number is limited.
    Players,
    /// Operators and orchestrators, who get only health.
    Operators,
}

/// The task of a socket: the handshake, and then either the start of a connection and the connection, or the end of a
/// socket whose client is refused. Each is boxed, so that the next does not keep its memory, and the task is small:
/// tokio allocates tasks in steps of 128 bytes.
pub(crate) enum SocketTask {
    Handshake(BoxFuture<'static, Option<SocketTask>>),
    Start(StartingConnection),
    Last(BoxFuture<'static, ()>),
}

/// A socket that was accepted, and what its requests meet.
pub(crate) struct HttpSocket {
    pub(crate) transport: Transport,
    pub(crate) peer: SocketAddr,
    pub(crate) kind: ListenerKind,
    pub(crate) routes: Arc<Routes>,
    pub(crate) accepted_at: Instant,
    /// Dropped after the transport, so that the socket is closed when it counts no more.
    pub(crate) pending: PendingHandshake,
}

impl SocketTask {
    /// Creates the task of a socket. The owner of `pending` ends it when the client sends nothing in time.
    pub(super) fn new(mut socket: HttpSocket) -> Self {
        Self::Handshake(Box::pin(async move {
            let received = socket.transport.receive().await.ok().filter(|received| !received.is_empty())?;
            socket.serve(received).await
        }))
    }
}

impl Future for SocketTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut *self {
                Self::Last(last) => return last.as_mut().poll(cx),
                Self::Start(start) => *self = Self::Last(ready!(start.as_mut().poll(cx))),
                Self::Handshake(handshake) => match ready!(handshake.as_mut().poll(cx)) {
                    Some(next) => *self = next,
                    None => return Poll::Ready(()),
                },
            }
        }
    }
}

impl HttpSocket {
    /// Serves the socket, from which these first bytes were read. Returns what serves it from now on: the connection if
    /// it becomes one at once, or the close handshake with a client that is refused.
    pub(crate) async fn serve(self, received: Bytes) -> Option<SocketTask> {
        // The first to be declared is the last to be dropped.
        let Self { pending, transport, peer, kind, routes, accepted_at } = self;
        let plain = read_plain_head(&received).filter(|_| kind == ListenerKind::Players);
        let endpoint = plain.and_then(|(request, len)| {
            let endpoint = Arc::clone(routes.endpoint(request.uri().path())?);
            Some((endpoint, request, received.slice(len..)))
        });
        let Some((endpoint, request, rest)) = endpoint else {
            Box::pin(serve_pages(Replayed::new(received, transport), peer, kind, routes, accepted_at, pending, None))
                .await;
            return None;
        };
        if !pending.answers() {
            return None;
        }
        match endpoint.open(request, peer, transport, rest).await {
            Opened::Connection(start) => Some(SocketTask::Start(start)),
            Opened::Closing(closing) => {
                pending.waits();
                // Returned, so that the task does not keep the memory of the handshake meanwhile.
                Some(SocketTask::Last(Box::pin(async move {
                    // The place in the queue is dropped after the socket.
                    let pending = pending;
                    tokio::select! {
                        // The client is told even if the listener has just gone.
                        biased;
                        () = closing => {}
                        () = pending.closed() => {}
                    }
                })))
            }
            Opened::Refused(refusal, transport) => {
                let (stream, known) = (Replayed::new(received, transport), Some(refusal.into_response()));
                Box::pin(serve_pages(stream, peer, kind, routes, accepted_at, pending, known)).await;
                None
            }
            Opened::Gone => None,
        }
    }
}

/// Serves HTTP on a stream until it becomes a connection or ends. `known` is the answer to the first request, if it was
/// read already.
async fn serve_pages(
    stream: Replayed,
    peer: SocketAddr,
    kind: ListenerKind,
    routes: Arc<Routes>,
    accepted_at: Instant,
    pending: PendingHandshake,
    known: Option<Response<Body>>,
) {
    let handshake_timeout = routes.node.limits.handshake_timeout;
    let (pending, known) = (Arc::new(pending), Arc::new(Mutex::new(known)));
    let closing = Arc::new(Mutex::new(None));
    let serving = {
        let (pending, closing) = (Arc::clone(&pending), Arc::clone(&closing));
        service_fn(move |request| {
            let (routes, pending, known) = (Arc::clone(&routes), Arc::clone(&pending), Arc::clone(&known));
            let closing = Arc::clone(&closing);
            async move {
                let known = known.lock().take();
                let answered = answer(&routes, kind, request, peer, &pending, known).await;
                *closing.lock() = answered.closing;
                Ok::<_, Infallible>(answered.response)
            }
        })
    };
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(handshake_timeout.saturating_sub(accepted_at.elapsed()))
        .max_buf_size(MAX_REQUEST_BUFFER)
        .serve_connection(TokioIo::new(stream), serving)
        .with_upgrades();
    let mut http = Box::pin(http);
    let serving = async move {
        let mut served = timeout(PAGES_TIMEOUT, http.as_mut()).await;
        if served.is_err() {
            // No further request is read. The current one may be a handshake, which has its own timeout.
            http.as_mut().graceful_shutdown();
            served = timeout(handshake_timeout, http.as_mut()).await;
        }
        match served {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%peer, error = logged(&error), "an HTTP connection failed"),
            Err(_) => tracing::debug!(%peer, "an HTTP connection took too long"),
        }
        // If there is no upgrade, nothing waits for it any more.
        drop(http);
        let closing = closing.lock().take();
        if let Some(closing) = closing {
            closing.await;
        }
    };
    tokio::select! {
        biased;
        () = serving => {}
        () = pending.closed() => {}
    }
}

/// Answers one request. The socket cannot be cut off meanwhile, nor when it becomes a connection.
async fn answer(
    routes: &Routes,
    kind: ListenerKind,
    request: Request<Incoming>,
    peer: SocketAddr,
    pending: &PendingHandshake,
    known: Option<Response<Body>>,
) -> Answered {
    if known.is_none() && !pending.answers() {
        // The socket has just been cut off: the task ends here.
        return std::future::pending().await;
    }
    let answered = match (known, kind) {
        (Some(known), _) => known.into(),
        (None, ListenerKind::Players) => routes.answer(request, peer).await,
        (None, ListenerKind::Operators) => routes.answer_operator(&request).into(),
    };
    if answered.response.status() != StatusCode::SWITCHING_PROTOCOLS || answered.closing.is_some() {
        pending.waits();
    }
    answered
}
