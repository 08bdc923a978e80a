//! Accepts the sockets of one listener, and ends those whose clients send nothing.

use std::{convert::Infallible, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::connection::Transport;
use crate::node_state::Limit;
use crate::server::http_socket::{HttpSocket, ListenerKind, SocketTask};
use crate::server::listener::Listener;
use crate::server::pending_handshakes::{PendingCounts, PendingHandshakes};
use crate::server::routes::Routes;
use crate::server::runtime::Runtimes;

/// The pause before the next attempt when no socket can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The number of sockets of operators that are served at once.
const MAX_OPERATORS: usize = 32;

/// Accepts the sockets of one listener.
pub(super) struct Acceptor {
    listener: Listener,
    kind: ListenerKind,
    routes: Arc<Routes>,
    pending: Arc<PendingHandshakes>,
    runtimes: Runtimes,
    /// Ends when the next socket may have waited for its client for too long. One timer for all of them, because a
    /// timer of a socket costs a system call.
    expiry: Option<Pin<Box<Sleep>>>,
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
    pub(super) fn new(listener: Listener, kind: ListenerKind, routes: Arc<Routes>, runtimes: Runtimes) -> Self {
        let (max, limit) = match kind {
            ListenerKind::Players => (routes.node.limits.max_pending_handshakes, Limit::PendingHandshakes),
            ListenerKind::Operators => (MAX_OPERATORS, Limit::OperatorSockets),
        };
        let pending = PendingHandshakes::new(Arc::clone(&routes.node), max, limit);
        Self { listener, kind, routes, pending, runtimes, expiry: None }
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
                // Accepting is the first, so that a socket costs no poll of the other branches. tokio's budget lets
                // them have their turn.
                biased;
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
                () = self.pending.one_ended(), if vacancy != Vacancy::Free || resume_at.is_some() => resume_at = None,
                Some(()) = sleep_until_some(vacancy.at()) => {}
                Some(()) = wait_some(self.expiry.as_mut()) => {
                    let next = self.pending.cut_silent();
                    self.expiry = next.map(|at| Box::pin(sleep_until(at)));
                }
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
        let PendingCounts { waiting, answering, all } = self.pending.counts();
        // A socket that is being answered holds a slot, so it is among the connections.
        let sockets = all.saturating_sub(answering);
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
        let worker = match self.kind {
            ListenerKind::Players => self.runtimes.least_busy(),
            ListenerKind::Operators => &self.runtimes.own,
        };
        let stream = match self.runtimes.move_to(worker, stream) {
            Ok(stream) => stream,
            Err(error) => return self.routes.node.refusals.record(Limit::OpenFiles, &error),
        };
        let client = match self.kind {
            ListenerKind::Players => self.routes.access.limited(peer.ip()),
            ListenerKind::Operators => None,
        };
        match self.pending.begin(client, peer) {
            Ok(pending) => {
                let queued = Arc::clone(pending.queued());
                let accepted_at = queued.accepted_at();
                self.expiry.get_or_insert_with(|| Box::pin(sleep_until(self.pending.silent_at(accepted_at))));
                let (transport, routes) = (Transport::Tcp(stream), Arc::clone(&self.routes));
                let socket = HttpSocket { transport, peer, kind: self.kind, routes, accepted_at, pending };
                queued.set_task(worker.spawn(SocketTask::new(socket)).abort_handle());
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

impl Drop for Acceptor {
    /// Ends every socket that is not a connection yet.
    fn drop(&mut self) {
        self.pending.close();
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

/// Waits for this timer. Returns `None` at once if there is none.
async fn wait_some(timer: Option<&mut Pin<Box<Sleep>>>) -> Option<()> {
    timer?.await;
    Some(())
}
