//! A server that listens: it accepts sockets, serves HTTP on them, and drains.

use std::{convert::Infallible, future::pending, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::handles::Hub;
use crate::node::Node;
use crate::protocol::{StartError, logged};
use crate::server::listener::Listener;
use crate::server::routes::Routes;
use crate::server::signals::Signals;

/// How long pages are served on one socket. This bounds how long a client that does not read its page keeps the socket.
const PAGES_TIMEOUT: Duration = Duration::from_secs(60);
/// The number of sockets that may be open in addition to `max_connections`: handshakes, and pages being served.
const SPARE_SOCKETS: usize = 192;
/// How much of a request hyper buffers before it answers 431 itself, in bytes.
const MAX_REQUEST_BUFFER: usize = 64 * 1024;
/// The pause before the next attempt when no socket can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A server that listens. It accepts nothing until [`serve`](Self::serve) or [`serve_until`](Self::serve_until) is
/// awaited.
#[derive(Debug)]
#[must_use = "a bound server does nothing until it serves"]
pub struct Bound {
    listener: Listener,
    routes: Arc<Routes>,
}

impl Bound {
    pub(super) fn new(listener: Listener, routes: Routes) -> Self {
        Self { listener, routes: Arc::new(routes) }
    }

    /// Returns the handle on rooms, users and connections. It can be used from any task, also before the server serves.
    pub fn hub(&self) -> Hub {
        Hub::new(Arc::clone(&self.routes.node))
    }

    /// Returns the address that the server listens on, with the actual port if port 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Serves until SIGTERM or SIGINT, then drains: new connections are refused with 503, messages that were read are
    /// answered, and every connection is closed with 4000. A second signal cuts all connections off; `#[close]` still
    /// has a second to run.
    ///
    /// # Errors
    ///
    /// [`StartError::Signals`] if the process cannot listen for signals.
    pub async fn serve(self) -> Result<(), StartError> {
        let mut signals = Signals::new().map_err(StartError::Signals)?;
        let node = Arc::clone(&self.routes.node);
        let (first_signal, shutdown) = oneshot::channel();
        let handle_signals = async move {
            signals.next().await;
            // Cannot fail, because the receiver lives as long as this future.
            let _ = first_signal.send(());
            signals.next().await;
            tracing::warn!("cutting off all connections after a second signal");
            node.abandon();
            pending().await
        };
        tokio::select! {
            () = self.serve_until(async { let _ = shutdown.await; }) => Ok(()),
            never = handle_signals => never,
        }
    }

    /// Serves until `shutdown` completes, then drains as [`serve`](Self::serve) does. When no socket can be accepted,
    /// for example because too many files are open, it tries again until it succeeds.
    ///
    /// ```no_run
    /// # struct Game;
    /// # #[kengine::dispatcher]
    /// # impl Game { #[route] async fn ping(&self) {} }
    /// use kengine::Server;
    ///
    /// # async fn run() -> Result<(), kengine::StartError> {
    /// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    /// let server = Server::new(Game).bind("127.0.0.1:8000").await?;
    /// let serving = tokio::spawn(server.serve_until(async { drop(stopped.await) }));
    /// # let _ = (stop, serving);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn serve_until(self, shutdown: impl Future<Output = ()>) {
        let node = &self.routes.node;
        let _abandon = AbandonOnDrop(Arc::clone(node));
        node.cluster.start();
        tracing::info!(address = %self.local_addr(), connections = node.limits.max_connections, "listening");
        let mut drained = pin!(async {
            shutdown.await;
            tracing::info!(connections = node.connections(), "draining");
            node.drain().await;
        });
        // Sockets that are not connections yet. They end when this set is dropped.
        let mut sockets = JoinSet::new();
        loop {
            let accepts = node.connections() + sockets.len() < node.limits.max_connections + SPARE_SOCKETS;
            tokio::select! {
                accepted = self.listener.accept(), if accepts => match accepted {
                    Ok((stream, peer)) => {
                        sockets.spawn(self.socket(stream, peer));
                    }
                    Err(error) => {
                        tracing::warn!(error = logged(&error), "cannot accept a connection; trying again");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = sockets.join_next() => {}
                () = sleep(ACCEPT_PAUSE), if !accepts => {}
                () = &mut drained => break,
            }
        }
        for (count, route) in self.routes.counts() {
            tracing::debug!(route, requests = count.requests, errors = count.errors, "requests and errors of a route");
        }
        tracing::info!("drained");
    }

    /// Serves HTTP on one socket until it becomes a connection or ends.
    fn socket(&self, stream: TcpStream, peer: SocketAddr) -> impl Future<Output = ()> + use<> {
        let routes = Arc::clone(&self.routes);
        async move {
            // hyper allocates its buffers when it starts, so it starts only after the client has sent something. `peek`
            // waits for that. `readable` does not: when many clients connected together, it returned without data for
            // half of them.
            let begun = Instant::now();
            if matches!(timeout(routes.node.limits.handshake_timeout, stream.peek(&mut [0])).await, Ok(Ok(1))) {
                serve_http(routes, stream, peer, begun).await;
            }
        }
    }
}

/// Serves HTTP on a stream until it becomes a connection or ends. The client has connected at `begun`.
pub(crate) async fn serve_http<S>(routes: Arc<Routes>, stream: S, peer: SocketAddr, begun: Instant)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake_timeout = routes.node.limits.handshake_timeout;
    let service = service_fn(move |request| {
        let routes = Arc::clone(&routes);
        async move { Ok::<_, Infallible>(routes.answer(request, peer).await) }
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

/// Cuts all connections off when the future that serves them ends or is dropped, so that no task outlives it.
struct AbandonOnDrop(Arc<Node>);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
