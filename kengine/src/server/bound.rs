//! A server that listens: accepting sockets, serving HTTP on them, the drain.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    handles::hub::Hub,
    language::start_error::StartError,
    node::Node,
    server::{routes::Routes, signals::Signals},
};

/// How long a socket is served pages before it is a connection: one whose pages nobody reads shall not stay.
const PAGES_WITHIN: Duration = Duration::from_secs(60);
/// Sockets that are open besides the connections': handshakes, and pages being served.
const SPARE_SOCKETS: usize = 192;
/// The most that hyper buffers of a request before it answers 431 itself, in bytes.
const REQUEST_BUFFER: usize = 64 * 1024;
/// How long to wait before another try when no socket can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A server that listens, and serves as soon as it is told to.
#[derive(Debug)]
#[must_use = "a bound server does nothing until it serves"]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    hub: Hub,
    routes: Arc<Routes>,
}

impl Bound {
    pub(super) fn new(listener: TcpListener, address: SocketAddr, routes: Routes) -> Self {
        let hub = Hub::new(Arc::clone(&routes.node));
        Self { listener, address, hub, routes: Arc::new(routes) }
    }

    /// The server's handle: who is connected, in which rooms, and how to reach them. Usable from any task, before and
    /// while it serves.
    pub fn hub(&self) -> Hub {
        self.hub.clone()
    }

    /// The address that is listened on; the port is a real one even if `0` was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until SIGTERM or SIGINT, then drains: new connections are refused with 503, what was read is answered,
    /// every connection is closed with 4000. A second signal cuts everyone off: only `#[close]` has a second left.
    ///
    /// # Errors
    ///
    /// `signal` when the process cannot listen for signals.
    pub async fn serve(self) -> Result<(), StartError> {
        let mut signals = Signals::new().map_err(StartError::Signals)?;
        let node = Arc::clone(&self.routes.node);
        let (first, arrived) = tokio::sync::oneshot::channel();
        let impatience = async move {
            signals.next().await;
            // The receiver is awaited for as long as this future is.
            let _ = first.send(());
            signals.next().await;
            tracing::warn!("a second signal: cut off everyone");
            node.abandon();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            served = self.serve_until(async { let _ = arrived.await; }) => served,
            () = impatience => Ok(()),
        }
    }

    /// Serves until `shutdown` is ready, then drains as [`serve`](Self::serve) does.
    ///
    /// # Errors
    ///
    /// None at present: a listener that fails for a while is tried again.
    pub async fn serve_until(self, shutdown: impl Future<Output = ()>) -> Result<(), StartError> {
        let node = Arc::clone(&self.routes.node);
        let _owner = Owner(Arc::clone(&node));
        node.cluster().start();
        tracing::info!(address = %self.address, connections = node.limits().max_connections, "listening");
        let drained = async {
            shutdown.await;
            tracing::info!(connections = node.connections(), "draining");
            node.drain().await;
        };
        let mut drained = pin!(drained);
        // Sockets until they are connections. They are ours to await; dropped, they end.
        let mut sockets = JoinSet::new();
        loop {
            let room = node.connections() + sockets.len() < node.limits().max_connections + SPARE_SOCKETS;
            tokio::select! {
                accepted = self.listener.accept(), if room => match accepted {
                    Ok((stream, peer)) => {
                        sockets.spawn(self.socket(stream, peer));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection; trying again");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = sockets.join_next() => {}
                () = sleep(ACCEPT_PAUSE), if !room => {}
                () = &mut drained => break,
            }
        }
        for (count, route) in self.routes.counts() {
            tracing::debug!(route, requests = count.requests, errors = count.errors, "served");
        }
        tracing::info!("drained");
        Ok(())
    }

    /// Serves HTTP on one socket until it becomes a connection or ends.
    fn socket(&self, stream: TcpStream, peer: SocketAddr) -> impl Future<Output = ()> + use<> {
        // Where it is not inherited. A socket that cannot be set so works all the same, later.
        #[cfg(not(target_os = "linux"))]
        let _ = crate::connection::transport::tune(&stream);
        let routes = Arc::clone(&self.routes);
        let handshake = routes.node.limits().handshake_timeout;
        let service = service_fn(move |request| {
            let routes = Arc::clone(&routes);
            async move { Ok::<_, Infallible>(routes.answer(request, peer).await) }
        });
        async move {
            // hyper buffers from the start: a socket that says nothing yet shall not cost that. Looked at, since
            // merely to be told "readable" proved wrong for half of the sockets of a crowd.
            let begun = Instant::now();
            if !matches!(timeout(handshake, stream.peek(&mut [0])).await, Ok(Ok(1))) {
                return;
            }
            let http = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(handshake.saturating_sub(begun.elapsed()))
                .max_buf_size(REQUEST_BUFFER)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            let mut http = Box::pin(http);
            let mut served = timeout(PAGES_WITHIN, http.as_mut()).await;
            if served.is_err() {
                // No page is taken any more; what was asked for last may be a handshake, which has its own time.
                http.as_mut().graceful_shutdown();
                served = timeout(handshake, http).await;
            }
            match served {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%peer, %error, "an HTTP connection failed"),
                Err(_) => tracing::debug!(%peer, "an HTTP connection took too long"),
            }
        }
    }
}

/// Cuts the players off when the future that serves them ends or is dropped: no task outlives its owner.
struct Owner(Arc<Node>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
