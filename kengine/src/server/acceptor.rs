//! Accepts the sockets of one listener, and serves HTTP on each until it becomes a connection or ends.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::http::Body;
use crate::node_state::Limit;
use crate::protocol::logged;
use crate::server::listener::Listener;
use crate::server::pending_handshakes::{PendingHandshake, PendingHandshakes};
use crate::server::routes::Routes;

/// How long pages are served on one socket. This bounds how long a client that does not read its page keeps the socket.
const PAGES_TIMEOUT: Duration = Duration::from_secs(60);
/// How much of a request hyper buffers before it answers 431 itself, in bytes.
const MAX_REQUEST_BUFFER: usize = 64 * 1024;
/// The pause before the next attempt when no socket can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The number of sockets of operators that are served at once.
const MAX_OPERATORS: usize = 32;

/// Who connects to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListenerKind {
    /// Players, whose number is limited.
    Players,
    /// Operators and orchestrators, who get only health.
    Operators,
}

/// Accepts the sockets of one listener.
pub(super) struct Acceptor {
    listener: Listener,
    kind: ListenerKind,
    routes: Arc<Routes>,
    pending: Arc<PendingHandshakes>,
    /// The tasks of the pending handshakes.
    sockets: JoinSet<()>,
}

/// Whether another socket may be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vacancy {
    Free,
    /// Not before this time, when the oldest pending handshake may be cut off.
    At(Instant),
    /// Not before a socket that was cut off has ended.
    Soon,
    /// No: connections use all files. Sockets are accepted and closed.
    None,
}

impl Acceptor {
    pub(super) fn new(listener: Listener, kind: ListenerKind, routes: Arc<Routes>) -> Self {
        let (max, limit) = match kind {
            ListenerKind::Players => (routes.node.limits.max_pending_handshakes, Limit::PendingHandshakes),
            ListenerKind::Operators => (MAX_OPERATORS, Limit::OperatorSockets),
        };
        let pending = PendingHandshakes::new(Arc::clone(&routes.node), max, limit);
        Self { listener, kind, routes, pending, sockets: JoinSet::new() }
    }

    /// Accepts sockets until the future is dropped, which ends all that are not connections yet.
    pub(super) async fn run(mut self) -> Infallible {
        let routes = Arc::clone(&self.routes);
        let refusals = &routes.node.refusals;
        let mut resume_at = None;
        loop {
            let vacancy = self.make_room();
            let accepted = async {
                sleep_until_some(resume_at).await;
                self.listener.accept().await
            };
            tokio::select! {
                accepted = accepted, if matches!(vacancy, Vacancy::Free | Vacancy::None) => match accepted {
                    // If there was no vacancy, a connection may have ended since.
                    Ok((stream, peer)) if vacancy == Vacancy::Free || self.make_room() == Vacancy::Free => {
                        resume_at = None;
                        self.serve(stream, peer);
                    }
                    Ok((_, peer)) => refusals.record(Limit::OpenFiles, &peer.ip()),
                    Err(error) => resume_at = self.pause_after(&error),
                },
                // A file may be free now.
                Some(_) = self.sockets.join_next() => resume_at = None,
                Some(()) = sleep_until_some(vacancy.at()) => {}
                never = refusals.keep_reporting() => match never {},
            }
        }
    }

    /// Keeps a file free for the next socket: when none is left, cuts off the socket that has waited for the longest.
    fn make_room(&self) -> Vacancy {
        let node = &self.routes.node;
        let max_sockets = match self.kind {
            ListenerKind::Players => node.limits.max_sockets.saturating_sub(node.connections()),
            ListenerKind::Operators => usize::MAX,
        };
        let (waiting, answering) = self.pending.counts();
        // A socket that is being answered holds a slot, so it is among the connections.
        let sockets = self.sockets.len().saturating_sub(answering);
        if sockets < max_sockets {
            return self.pending.full_until().map_or(Vacancy::Free, Vacancy::At);
        }
        if sockets > waiting {
            return Vacancy::Soon;
        }
        match self.pending.cut_oldest() {
            Ok(()) => {
                node.refusals.record(Limit::OpenFiles, &"the oldest pending handshake");
                Vacancy::Soon
            }
            Err(Some(at)) => Vacancy::At(at),
            Err(None) => Vacancy::None,
        }
    }

    /// Serves a socket in a task of its own, unless its address has reached a limit.
    fn serve(&mut self, stream: TcpStream, peer: SocketAddr) {
        let client = match self.kind {
            ListenerKind::Players => self.routes.access.limited(peer.ip()),
            ListenerKind::Operators => None,
        };
        match self.pending.begin(client) {
            Ok(pending) => {
                let (routes, kind) = (Arc::clone(&self.routes), self.kind);
                self.sockets.spawn(async move {
                    let pending = Arc::new(pending);
                    tokio::select! {
                        // The first, so that a request that has come is answered.
                        biased;
                        () = serve_socket(stream, peer, kind, routes, Arc::clone(&pending)) => {}
                        () = pending.cut() => tracing::debug!(%peer, "a pending handshake was cut off"),
                    }
                });
            }
            Err(limit) => self.routes.node.refusals.record(limit, &peer.ip()),
        }
    }

    /// Returns when to accept again after this error, if not at once.
    fn pause_after(&self, error: &io::Error) -> Option<Instant> {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
            // This client has gone.
            return None;
        }
        self.routes.node.refusals.record(Limit::OpenFiles, error);
        // This fails if no socket waits, or if it is too early. Then only the pause helps.
        let _ = self.pending.cut_oldest();
        Some(Instant::now() + ACCEPT_PAUSE)
    }
}

impl Vacancy {
    fn at(self) -> Option<Instant> {
        if let Self::At(at) = self { Some(at) } else { None }
    }
}

/// Waits until this time. Returns `None` at once if there is none.
async fn sleep_until_some(at: Option<Instant>) -> Option<()> {
    sleep_until(at?).await;
    Some(())
}

/// Serves HTTP on one socket until it becomes a connection or ends.
async fn serve_socket(
    stream: TcpStream,
    peer: SocketAddr,
    kind: ListenerKind,
    routes: Arc<Routes>,
    pending: Arc<PendingHandshake>,
) {
    let handshake_timeout = routes.node.limits.handshake_timeout;
    // hyper allocates its buffers when it starts, so it starts only after the client has sent something. `peek` waits
    // for that. `readable` does not: when many clients connected together, it returned without data for half of them.
    let begun = Instant::now();
    if !matches!(timeout(handshake_timeout, stream.peek(&mut [0])).await, Ok(Ok(1))) {
        return;
    }
    let answer = move |request| {
        let (routes, pending) = (Arc::clone(&routes), Arc::clone(&pending));
        async move { answer(&routes, kind, request, peer, &pending).await }
    };
    serve_http(stream, peer, handshake_timeout, begun, answer).await;
}

/// Serves HTTP on a stream until it becomes a connection or ends. The client has connected at `begun`.
pub(crate) async fn serve_http<S, F, R>(
    stream: S,
    peer: SocketAddr,
    handshake_timeout: Duration,
    begun: Instant,
    answer: F,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> R + Send,
    R: Future<Output = Response<Body>> + Send,
{
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(handshake_timeout.saturating_sub(begun.elapsed()))
        .max_buf_size(MAX_REQUEST_BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut http = Box::pin(http);
    let mut served = timeout(PAGES_TIMEOUT, http.as_mut()).await;
    if served.is_err() {
        // No further request is read. The current one may be a handshake, which has its own timeout.
        http.as_mut().graceful_shutdown();
        served = timeout(handshake_timeout, http).await;
    }
    match served {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, error = logged(&error), "an HTTP connection failed"),
        Err(_) => tracing::debug!(%peer, "an HTTP connection took too long"),
    }
}

/// Answers one request. The socket cannot be cut off meanwhile, nor when it becomes a connection.
async fn answer(
    routes: &Routes,
    kind: ListenerKind,
    request: Request<Incoming>,
    peer: SocketAddr,
    pending: &PendingHandshake,
) -> Response<Body> {
    pending.answers();
    let response = match kind {
        ListenerKind::Players => routes.answer(request, peer).await,
        ListenerKind::Operators => routes.answer_operator(&request),
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        pending.waits();
    }
    response
}
