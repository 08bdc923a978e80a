//! What the connections of one node share: the limits, and who is here.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::interval,
};

use crate::{
    Close, Connection, ConnectionId, Duplicates, Result, Session, Syntax, Uid,
    cluster::{Address, Alone, Cluster, Enter, Parcel},
    heartbeat::Heartbeat,
    hub::{Claim, Presence, Recipient, Registry, Users},
    outbox::{Backlog, Bounds, Ending},
    reservation::Reservation,
    session::random,
};

/// Files that a node keeps for other things than players: its listener, pages being served, Redis, logs.
const RESERVED_FILES: u64 = 256;
/// The most connections of a node, unless it is told otherwise or may not open so many files.
const MOST_CONNECTIONS: usize = 100_000;

/// How many players a drain sends away at once, where others are to take them, and how long it waits then: 2,000 a second.
const AT_ONCE: usize = 20;
const TURN: Duration = Duration::from_millis(10);

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
    /// What may wait in all outboxes, in bytes.
    pub(crate) outboxes: usize,
    pub(crate) connections: usize,
    /// Rooms per connection.
    pub(crate) rooms: usize,
    pub(crate) duplicates: Duplicates,
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
            outboxes: 1024 * 1024 * 1024,
            connections: default_connections(),
            rooms: 32,
            duplicates: Duplicates::default(),
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
    pub(crate) users: Users,
    pub(crate) registry: Registry,
    pub(crate) backlog: Backlog,
    pub(crate) cluster: Arc<dyn Cluster>,
    /// What the endpoints speak, each once.
    pub(crate) syntaxes: Vec<&'static Syntax>,
    /// Sends that the other nodes did not get.
    pub(crate) unpublished: AtomicU64,
    /// Tells how many messages its endpoints have handled, once they are there.
    #[cfg(feature = "redis")]
    pub(crate) messages: std::sync::OnceLock<Box<dyn Fn() -> u64 + Send + Sync>>,
    /// Connections that are known, without handshakes on their way.
    connected: AtomicUsize,
    ids: AtomicU64,
    occupancy: Mutex<Occupancy>,
    /// Somebody is at it already, to bring the backlog under its bound.
    relieving: AtomicBool,
    /// Told whenever the last seat is given back.
    emptied: Notify,
    /// Whether everyone is to be cut off.
    abandoned: watch::Sender<bool>,
}

#[derive(Default)]
struct Occupancy {
    /// Seats given away: connections, and handshakes on their way to be one.
    seats: usize,
    /// Set for good when the node drains: how every connection is to end, also one that comes late.
    ending: Option<Ending>,
}

/// Why a node takes no more connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Draining,
}

impl Node {
    pub(crate) fn new(
        limits: Limits,
        syntaxes: Vec<&'static Syntax>,
        cluster: &dyn Enter,
        listens: Option<SocketAddr>,
    ) -> Result<Arc<Self>> {
        let boot = random();
        let mut failure = None;
        let node = Arc::new_cyclic(|node| Self {
            users: Users::new(),
            registry: Registry::new(boot),
            backlog: Backlog::new(limits.outboxes),
            cluster: cluster.enter(node, boot, listens).unwrap_or_else(|error| {
                failure = Some(error);
                Arc::new(Alone)
            }),
            syntaxes,
            unpublished: AtomicU64::new(0),
            #[cfg(feature = "redis")]
            messages: std::sync::OnceLock::new(),
            connected: AtomicUsize::new(0),
            limits,
            ids: AtomicU64::new(1),
            occupancy: Mutex::default(),
            relieving: AtomicBool::new(false),
            emptied: Notify::new(),
            abandoned: watch::Sender::new(false),
        });
        failure.map_or(Ok(node), Err)
    }

    pub(crate) fn next_id(&self) -> ConnectionId {
        ConnectionId::new(self.ids.fetch_add(1, Ordering::Relaxed))
    }

    /// A seat for a connection that is about to be, so that the node is never fuller than it may be.
    pub(crate) fn seat(self: &Arc<Self>) -> Result<Seat, Refused> {
        let mut occupancy = self.occupancy();
        if occupancy.ending.is_some() {
            return Err(Refused::Draining);
        }
        if occupancy.seats >= self.limits.connections {
            return Err(Refused::Full);
        }
        occupancy.seats += 1;
        Ok(Seat { place: Place { node: Arc::clone(self), one: None }, reservation: None })
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.occupancy().ending.is_some()
    }

    /// How many connections there are, handshakes on their way included.
    pub(crate) fn connections(&self) -> usize {
        self.occupancy().seats
    }

    /// How many messages it has handled.
    #[cfg(feature = "redis")]
    pub(crate) fn handled(&self) -> u64 {
        self.messages.get().map_or(0, |messages| messages())
    }

    /// How many connections are known: those of players, as others count them.
    #[cfg(feature = "redis")]
    pub(crate) fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// Takes no more connections, lets each answer what it read, closes it with 4000, and returns when all are
    /// gone: at the latest at the deadline, when handlers that still run are cancelled. Where there are other nodes, the
    /// players come to them one after another.
    pub(crate) async fn drain(&self) {
        self.occupancy().ending = Some(Ending::Drain);
        let drained = async {
            if self.cluster.drain().await {
                self.end_in_turn().await;
            }
            self.end_all(&Ending::Drain);
            self.emptied().await;
        };
        if tokio::time::timeout(self.limits.drain, drained).await.is_err() {
            tracing::warn!(connections = self.connections(), "the drain's deadline passed: cut off the rest");
            self.abandon();
            self.emptied().await;
        }
        self.cluster.leave().await;
    }

    /// Cuts every connection off, its handler too.
    pub(crate) fn abandon(&self) {
        self.abandoned.send_replace(true);
        self.occupancy().ending = Some(Ending::Abandon);
        self.end_all(&Ending::Abandon);
    }

    /// Waits until everyone is to be cut off.
    pub(crate) async fn abandoned(&self) {
        // Fails only when the sender is gone, which is this node's.
        let _ = self.abandoned.subscribe().wait_for(|abandoned| *abandoned).await;
    }

    /// Whoever is known is told here; whoever becomes known later looks for the ending itself.
    fn end_all(&self, ending: &Ending) {
        self.users.each(|one| one.outbox().end(ending.clone()));
    }

    /// Tells everybody to drain, a few at a time; the last at half of the drain's time.
    async fn end_in_turn(&self) {
        let mut all = Vec::new();
        self.users.each(|one| all.push(Arc::clone(one)));
        let turns = (self.limits.drain / 2).as_millis() / TURN.as_millis();
        let at_once = all.len().div_ceil(usize::try_from(turns).unwrap_or(usize::MAX).max(1)).max(AT_ONCE);
        let in_turn = async {
            let mut turn = interval(TURN);
            for some in all.chunks(at_once) {
                turn.tick().await;
                for one in some {
                    one.outbox().end(Ending::Drain);
                }
            }
        };
        tokio::select! {
            () = in_turn => {}
            () = self.abandoned() => {}
            () = self.emptied() => {}
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

    /// Closes every connection of the user that is not ending already; how many they are.
    pub(crate) fn kick(&self, uid: &str, close: &Close) -> usize {
        let mut kicked = 0;
        self.users.each_of(uid, |one| {
            if !one.outbox().ends() {
                one.outbox().end(Ending::Close(close.clone()));
                kicked += 1;
            }
        });
        kicked
    }

    /// Takes what another node sends.
    pub(crate) fn receive(&self, to: Address<'_>, parcel: &Parcel) {
        match (parcel, to) {
            (Parcel::Push { frames, key, audience }, _) => {
                let deliver = |one: &Arc<dyn Recipient>| {
                    let frame = frames.iter().find(|(syntax, _)| syntax == one.syntax());
                    if let Some((_, frame)) = frame.filter(|_| audience.includes(&**one)) {
                        // One who cannot take it is on the way out.
                        let _ =
                            one.outbox().push(frame.clone(), key.as_ref(), self.limits.outbox, &self.backlog);
                    }
                };
                match to {
                    Address::Room(room) => self.registry.each(room, deliver),
                    Address::User(uid) => self.users.each_of(uid, deliver),
                    Address::Everybody => self.users.each(deliver),
                }
            }
            (Parcel::Presence { presence, member }, Address::Room(room)) => {
                let is_here = !self.registry.announce(room, *presence, member, self);
                if is_here && *presence == Presence::Left {
                    // Who has moved from that node to this one has not left: the others are told so.
                    let joined = Parcel::Presence { presence: Presence::Joined, member: member.clone() };
                    let _ = self.cluster.publish(to, joined);
                }
            }
            (Parcel::Kick(close), Address::User(uid)) => _ = self.kick(uid, close),
            (Parcel::Presence { .. } | Parcel::Kick(_), _) => {}
        }
        self.relieve();
    }

    /// A connection of this node does not get the uid, or has it no more: another node's has.
    pub(crate) fn lose(&self, uid: &Uid, connection: ConnectionId, duplicates: Duplicates) {
        let close = duplicates.close();
        self.users.each_of(uid.as_str(), |one| {
            if one.id() == connection {
                one.outbox().end(Ending::Close(close.clone()));
            }
        });
    }

    /// Closes the connections with the largest outboxes until all of them hold no more than they may.
    pub(crate) fn relieve(&self) {
        while self.backlog.is_over() && !self.relieving.swap(true, Ordering::AcqRel) {
            let mut largest = (0, None);
            self.users.each(|one| {
                let bytes = one.outbox().queued().bytes;
                if bytes > largest.0 {
                    largest = (bytes, Some(Arc::clone(one)));
                }
            });
            // A swap, so that whoever has added to it meanwhile and left it to us is seen by the next look.
            self.relieving.swap(false, Ordering::AcqRel);
            let (bytes, Some(one)) = largest else { return };
            tracing::warn!(connection = %one.id(), bytes, "all outboxes together are full: closed the largest");
            one.outbox().overflow(&self.backlog);
        }
    }

    fn occupancy(&self) -> MutexGuard<'_, Occupancy> {
        // Nothing between lock and unlock can panic half-way through a change.
        self.occupancy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// A place in the node for a connection that is about to be.
pub(crate) struct Seat {
    place: Place,
    /// What a gateway has reserved for it; not the place's own, since an idle player has no more use for it.
    reservation: Option<Reservation>,
}

impl Seat {
    /// The same for somebody whom a gateway may have sent here.
    pub(crate) fn reserved(self, reservation: Option<Reservation>) -> Self {
        Self { reservation, ..self }
    }

    /// Makes the connection known to the node, under its uid; whether that is its own to have. One that comes while
    /// the node drains is told so at once.
    pub(crate) fn take<S: Session>(self, connection: &Connection<S>) -> (Place, bool) {
        let Self { mut place, reservation } = self;
        let one = connection.to_recipient();
        place.one = Some(Arc::clone(&one));
        let node = &place.node;
        node.connected.fetch_add(1, Ordering::Relaxed);
        node.cluster.changed();
        // Not before: who is neither reserved nor counted would have others sent to the same place.
        drop(reservation);
        let claim = node.users.claim(Arc::clone(&one), node.limits.duplicates);
        let ending = node.occupancy().ending.clone();
        if let Some(ending) = ending {
            one.outbox().end(ending);
        }
        let duplicates = node.limits.duplicates;
        let is_own = match claim {
            Claim::Granted { replaced, order } => {
                for older in replaced {
                    older.outbox().end(Ending::Close(Duplicates::Replace.close()));
                }
                if duplicates != Duplicates::Allow {
                    node.cluster.claim(one.uid(), one.id(), order, duplicates);
                }
                true
            }
            Claim::Refused => false,
        };
        (place, is_own)
    }
}

/// A connection's place in its node; given back when dropped.
pub(crate) struct Place {
    node: Arc<Node>,
    one: Option<Arc<dyn Recipient>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        // However the connection's task ended, a panic of ours included, nothing is queued for it any more.
        if let Some(one) = &self.one {
            let hub = crate::Hub::new(Arc::clone(&self.node));
            hub.forget(&**one);
            self.node.connected.fetch_sub(1, Ordering::Relaxed);
            self.node.cluster.changed();
        }
        let mut occupancy = self.node.occupancy();
        occupancy.seats -= 1;
        if occupancy.seats == 0 {
            self.node.emptied.notify_waiters();
        }
    }
}
