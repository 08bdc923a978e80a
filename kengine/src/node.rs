//! What the connections of one node share: the limits, and who is here.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, watch};

use crate::{
    Connection, ConnectionId, Session,
    heartbeat::Heartbeat,
    outbox::{Bounds, Ending, Outbox},
};

/// Files that a node keeps for other things than players: its listener, pages being served, Redis, logs.
const RESERVED_FILES: u64 = 256;
/// The most connections of a node, unless it is told otherwise or may not open so many files.
const MOST_CONNECTIONS: usize = 100_000;

/// The bounds of everything that a connection can make grow, and of every wait.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) message: usize,
    pub(crate) handshake: Duration,
    pub(crate) idle: Duration,
    pub(crate) handler: Duration,
    pub(crate) close: Duration,
    pub(crate) drain: Duration,
    pub(crate) outbox: Bounds,
    pub(crate) connections: usize,
    pub(crate) heartbeat: Heartbeat,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: 64 * 1024,
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            handler: Duration::from_secs(30),
            close: Duration::from_secs(5),
            drain: Duration::from_secs(25),
            outbox: Bounds { frames: 1024, bytes: 256 * 1024 },
            connections: default_connections(),
            heartbeat: Heartbeat::default(),
        }
    }
}

/// The smaller of 100,000 and what the limit of open files leaves.
fn default_connections() -> usize {
    let files = rlimit::Resource::NOFILE.get_soft().unwrap_or(1024);
    usize::try_from(files.saturating_sub(RESERVED_FILES)).unwrap_or(usize::MAX).clamp(1, MOST_CONNECTIONS)
}

/// One process that serves players: who is here, and whether it takes more.
pub(crate) struct Node {
    pub(crate) limits: Limits,
    ids: AtomicU64,
    presence: Mutex<Presence>,
    /// Told whenever the last seat is given back.
    emptied: Notify,
    /// Whether everyone is to be cut off.
    abandoned: watch::Sender<bool>,
}

#[derive(Default)]
struct Presence {
    /// Seats given away: connections, and handshakes on their way to be one.
    seats: usize,
    /// Set for good when the node drains: how every connection is to end, also one that comes late.
    ending: Option<Ending>,
    members: HashMap<ConnectionId, Arc<dyn Member>>,
}

/// A connection of any session, as the node sees it.
pub(crate) trait Member: Send + Sync {
    fn outbox(&self) -> &Outbox;
}

/// Why a node takes no more connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Draining,
}

impl Node {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            ids: AtomicU64::new(1),
            presence: Mutex::default(),
            emptied: Notify::new(),
            abandoned: watch::Sender::new(false),
        })
    }

    pub(crate) fn next_id(&self) -> ConnectionId {
        ConnectionId::new(self.ids.fetch_add(1, Ordering::Relaxed))
    }

    /// A seat for a connection that is about to be, so that the node is never fuller than it may be.
    pub(crate) fn seat(self: &Arc<Self>) -> Result<Seat, Refused> {
        let mut presence = self.presence();
        if presence.ending.is_some() {
            return Err(Refused::Draining);
        }
        if presence.seats >= self.limits.connections {
            return Err(Refused::Full);
        }
        presence.seats += 1;
        Ok(Seat { node: Arc::clone(self), member: None })
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.presence().ending.is_some()
    }

    /// How many connections there are, handshakes on their way included.
    pub(crate) fn connections(&self) -> usize {
        self.presence().seats
    }

    /// Takes no more connections, lets each answer what it read, closes it with 4000, and returns when all are
    /// gone: at the latest at the deadline, when handlers that still run are cancelled.
    pub(crate) async fn drain(&self) {
        self.end_all(&Ending::Drain);
        if tokio::time::timeout(self.limits.drain, self.emptied()).await.is_err() {
            tracing::warn!(connections = self.connections(), "the drain's deadline passed: cut off the rest");
            self.abandon();
            self.emptied().await;
        }
    }

    /// Cuts every connection off, its handler too.
    pub(crate) fn abandon(&self) {
        self.abandoned.send_replace(true);
        self.end_all(&Ending::Abandon);
    }

    /// Waits until everyone is to be cut off.
    pub(crate) async fn abandoned(&self) {
        // Fails only when the sender is gone, which is this node's.
        let _ = self.abandoned.subscribe().wait_for(|abandoned| *abandoned).await;
    }

    fn end_all(&self, ending: &Ending) {
        // Told outside the lock: whoever is woken wants it to leave.
        let members: Vec<_> = {
            let mut presence = self.presence();
            presence.ending = Some(ending.clone());
            presence.members.values().cloned().collect()
        };
        for member in members {
            member.outbox().end(ending.clone());
        }
    }

    /// Waits until nobody is here.
    pub(crate) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.connections() == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn presence(&self) -> MutexGuard<'_, Presence> {
        // Nothing between lock and unlock can panic half-way through a change.
        self.presence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// A connection's place in its node; given back when dropped.
pub(crate) struct Seat {
    node: Arc<Node>,
    member: Option<(ConnectionId, Arc<dyn Member>)>,
}

impl Seat {
    /// Makes the connection known to the node; one that comes while the node drains is told so at once.
    pub(crate) fn take<S: Session>(&mut self, connection: &Connection<S>) {
        let member = connection.as_member();
        let mut presence = self.node.presence();
        presence.members.insert(connection.id(), Arc::clone(&member));
        let ending = presence.ending.clone();
        drop(presence);
        if let Some(ending) = ending {
            member.outbox().end(ending);
        }
        self.member = Some((connection.id(), member));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // However the connection's task ended, a panic of ours included, nothing is queued for it any more.
        if let Some((_, member)) = &self.member {
            member.outbox().close();
        }
        let mut presence = self.node.presence();
        if let Some((id, _)) = &self.member {
            presence.members.remove(id);
        }
        presence.seats -= 1;
        if presence.seats == 0 {
            self.node.emptied.notify_waiters();
        }
    }
}
