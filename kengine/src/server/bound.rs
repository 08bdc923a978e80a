//! A server that listens: it accepts sockets, serves HTTP on them, and drains.

use std::{future::pending, net::SocketAddr, panic::resume_unwind, pin::pin, sync::Arc};

use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};

use crate::handles::Hub;
use crate::node::Node;
use crate::protocol::StartError;
use crate::server::acceptor::Acceptor;
use crate::server::http_socket::ListenerKind;
use crate::server::listener::Listener;
use crate::server::routes::Routes;
use crate::server::runtime::Runtimes;
use crate::server::signals::Signals;

/// A server that listens. It accepts nothing until [`serve`](Self::serve) or [`serve_until`](Self::serve_until) is
/// awaited.
#[derive(Debug)]
#[must_use = "a bound server does nothing until it serves"]
pub struct Bound {
    listener: Listener,
    /// The listener of `Server::operate`.
    operator: Option<Listener>,
    routes: Arc<Routes>,
    runtimes: Runtimes,
}

impl Bound {
    pub(super) fn new(listener: Listener, operator: Option<Listener>, routes: Routes, runtimes: Runtimes) -> Self {
        Self { listener, operator, routes: Arc::new(routes), runtimes }
    }

    /// Returns the handle on rooms, users and connections. It can be used from any task, also before the server serves.
    pub fn hub(&self) -> Hub {
        Hub::new(Arc::clone(&self.routes.node))
    }

    /// Returns the address that the server listens on, with the actual port if port 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Returns the address of the listener of [`Server::operate`](crate::Server::operate), with the actual port; `None`
    /// if there is none.
    pub fn operator_addr(&self) -> Option<SocketAddr> {
        self.operator.as_ref().map(Listener::address)
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
        let Self { listener, operator, routes, runtimes } = self;
        let node = &routes.node;
        let _abandon = AbandonOnDrop(Arc::clone(node));
        node.start_on(&runtimes.own);
        let address = listener.address();
        tracing::info!(%address, connections = node.limits.max_connections, "listening");
        let mut drained = pin!(async {
            shutdown.await;
            tracing::info!(connections = node.connections(), "draining");
            node.drain().await;
        });
        // In tasks of their own, so that this future, which may contain more of the user's, is not polled for each
        // socket.
        let mut acceptors = JoinSet::new();
        let mut accept = |listener, kind| {
            let acceptor = Acceptor::new(listener, kind, Arc::clone(&routes), runtimes.clone());
            acceptors.spawn_on(acceptor.run(), &runtimes.own);
        };
        accept(listener, ListenerKind::Players);
        if let Some(listener) = operator {
            accept(listener, ListenerKind::Operators);
        }
        let panicked = tokio::select! {
            ended = acceptors.join_next() => ended.and_then(Result::err),
            () = &mut drained => None,
        };
        if let Some(Ok(panic)) = panicked.map(JoinError::try_into_panic) {
            resume_unwind(panic);
        }
        for (count, route) in routes.counts() {
            tracing::debug!(route, requests = count.requests, errors = count.errors, "requests and errors of a route");
        }
        tracing::info!("drained");
    }
}

/// Cuts all connections off when the future that serves them ends or is dropped, so that no task outlives it.
struct AbandonOnDrop(Arc<Node>);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
