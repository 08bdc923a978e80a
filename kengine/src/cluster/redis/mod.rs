//! A cluster whose directory and bus are Redis, or Valkey.

mod bus;
mod claims;
mod directory;
mod keys;
mod message;
mod redeemed;
mod scripts;

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, Client, RedisResult,
    aio::{MultiplexedConnection, PubSub},
};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::timeout,
};

use self::{
    bus::{Bus, Letter},
    claims::Claims,
    keys::Keys,
    redeemed::Redeemed,
};
use crate::{
    cluster::config::IntoJoinCluster,
    http::reservation::ReservationId,
    language::{start_error::StartError, uid::Uid},
    local::{
        cluster_interface::{
            Address, BoxFuture, Cluster, ClusterNode, Gathered, JoinCluster, Load, NodeInfo, NodeMessage,
            Status, Unavailable,
        },
        connection_id::ConnectionId,
        limits::Duplicates,
    },
};

/// How long a connection may take to be made, and a command to be answered.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);
/// How long a node waits to be taken out of the directory when it goes.
const LEFT_WITHIN: Duration = Duration::from_secs(3);
/// How long a node that drains waits until gateways choose it no more.
const UNLISTED_WITHIN: Duration = Duration::from_millis(250);
/// How long an answer may take that tells what time it is.
const CLOCK_WITHIN: Duration = Duration::from_millis(100);
/// How long a node is believed to live after its last beat.
const LEASE: Duration = Duration::from_secs(6);
/// What the names of keys begin with.
const PREFIX: &str = "kengine";

/// A cluster that is kept in Redis or Valkey: for [`Server::cluster`](crate::Server::cluster).
///
/// ```
/// use kengine::{Server, cluster::Redis};
/// # struct Game;
/// # #[kengine::dispatcher]
/// # impl Game { #[route] async fn ping(&self) {} }
///
/// let redis = Redis::new("redis://10.0.0.2/").advertise("10.0.0.7:8000").prefix("staging");
/// let server = Server::new(Game).cluster(redis);
/// # let _ = server;
/// ```
#[derive(Clone)]
#[must_use = "it is for `Server::cluster`"]
pub struct Redis {
    url: String,
    advertise: Option<String>,
    prefix: String,
    lease: Duration,
}

impl Redis {
    /// A server at this URL: `redis://user:password@host:port/database`, or `rediss://…` under TLS (feature `tls`), by
    /// the certificates that the system trusts (`SSL_CERT_FILE` names others).
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), advertise: None, prefix: PREFIX.to_owned(), lease: LEASE }
    }

    /// The address at which gateways and other nodes reach this one, `host:port`; the one that is listened on unless it
    /// is said here, which it must be for one that listens on all (`0.0.0.0`).
    pub fn advertise(self, address: impl Into<String>) -> Self {
        Self { advertise: Some(address.into()), ..self }
    }

    /// What the names of the cluster's keys begin with, so that several share one Redis: `kengine` unless it is said
    /// here. The two keys of the first kengine, `NODE_HOST_LIST` and each node's counter under its address, have no
    /// prefix: clusters whose gateways read those need a database each as well.
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// How long a node is believed to live after it was last heard of: 6 s unless it is said here, at least 300 ms. It
    /// is heard of at every third of it.
    pub fn lease(self, lease: Duration) -> Self {
        Self { lease: lease.max(Duration::from_millis(300)), ..self }
    }
}

impl From<&str> for Redis {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl From<String> for Redis {
    fn from(url: String) -> Self {
        Self::new(url)
    }
}

impl fmt::Debug for Redis {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("advertise", &self.advertise)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Redis {
    /// What [`prefix`](Self::prefix) said.
    pub(crate) fn prefix_of_keys(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn client(&self) -> Result<Client, StartError> {
        #[cfg(feature = "tls")]
        // Fails if the program has chosen a provider itself, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Client::open(&*self.url).map_err(|error| {
            let words = if self.url.starts_with("rediss://") && !cfg!(feature = "tls") {
                "`rediss://`, Redis under TLS, takes the feature `tls` of kengine"
            } else {
                "invalid Redis URL: write `redis://host:port/`, or `rediss://` for TLS"
            };
            StartError::Redis { reason: words.to_owned(), source: Some(error.into()) }
        })
    }

    /// The address that others are told.
    fn address(&self, listens: Option<SocketAddr>) -> Result<String, StartError> {
        let why = match (&self.advertise, listens) {
            (Some(address), _) if reachable(address) => return Ok(address.clone()),
            (Some(address), _) => format!(
                "`{address}` cannot be advertised: write the host and the port at which others reach this node, as \
                 `10.0.0.7:8000`"
            ),
            (None, Some(listens)) if !listens.ip().is_unspecified() => return Ok(listens.to_string()),
            (None, Some(listens)) => format!(
                "nobody can reach `{listens}`: say under which address others reach this node, by `Redis::advertise`"
            ),
            (None, None) => {
                "a mounted dispatcher does not know where it is: say it by `Redis::advertise`".to_owned()
            }
        };
        Err(StartError::redis(why))
    }
}

/// Whether others may find something at an address: a host, which is no wildcard, and a port.
fn reachable(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let ip: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let is_name = !host.is_empty() && host.chars().all(|char| char.is_ascii_graphic());
    is_name && !ip.is_some_and(|ip| ip.is_unspecified()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

impl IntoJoinCluster for Redis {
    fn into_join_cluster(self) -> Arc<dyn JoinCluster> {
        Arc::new(self)
    }
}

impl JoinCluster for Redis {
    fn join(&self, node: NodeInfo) -> Result<Arc<dyn Cluster>, StartError> {
        Ok(Arc::new(self.place(node, &self.address(node.listens)?)?))
    }
}

/// The cluster, as a program that is no node of it enters it: on the bus, and not in the directory.
#[derive(Debug)]
pub(crate) struct Outsider(pub(crate) Redis);

impl JoinCluster for Outsider {
    fn join(&self, node: NodeInfo) -> Result<Arc<dyn Cluster>, StartError> {
        let entered = self.0.place(node, "")?;
        Ok(Arc::new(Entered { is_node: false, ..entered }))
    }
}

impl Redis {
    fn place(&self, node: NodeInfo, address: &str) -> Result<Entered, StartError> {
        let (bus, outgoing) = Bus::new();
        let place = Place {
            client: self.client()?,
            keys: Keys::new(&self.prefix, address),
            prefix: self.prefix.clone(),
            boot: format!("{:016x}", node.boot),
            lease: self.lease,
            node: OnceLock::new(),
            capacity: node.max_connections,
            duplicates: node.duplicates,
            status: AtomicU8::new(Status::Joining as u8),
            claims: Mutex::default(),
            redeemed: Mutex::default(),
            begun: Instant::now(),
            clock: AtomicI64::new(0),
            changed: Notify::new(),
            drain: Notify::new(),
            unlisted: watch::Sender::new(false),
            leave: Notify::new(),
            draining: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            bus,
        };
        Ok(Entered {
            place: Arc::new(place),
            is_node: true,
            outgoing: Mutex::new(Some(outgoing)),
            tasks: Mutex::new(JoinSet::new()),
        })
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// One node's place in the cluster, shared by the tasks that keep it.
struct Place {
    client: Client,
    keys: Keys,
    prefix: String,
    /// Tells this process from any other at its address.
    boot: String,
    lease: Duration,
    node: OnceLock<Weak<dyn ClusterNode>>,
    capacity: usize,
    duplicates: Duplicates,
    status: AtomicU8,
    claims: Mutex<Claims>,
    redeemed: Mutex<Redeemed>,
    begun: Instant,
    /// What the directory's clock said then, in milliseconds.
    clock: AtomicI64,
    /// The load has changed, or a claim, or a reservation was redeemed.
    changed: Notify,
    drain: Notify,
    /// Whether gateways choose this node no more.
    unlisted: watch::Sender<bool>,
    leave: Notify,
    draining: AtomicBool,
    leaving: AtomicBool,
    bus: Bus,
}

impl Place {
    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWERED_WITHIN))
            .set_response_timeout(Some(ANSWERED_WITHIN));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    async fn subscribe(&self) -> RedisResult<PubSub> {
        match timeout(ANSWERED_WITHIN, self.client.get_async_pubsub()).await {
            Ok(connected) => connected,
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
    }

    fn node(&self) -> Option<Arc<dyn ClusterNode>> {
        self.node.get().and_then(Weak::upgrade)
    }

    fn load(&self) -> Load {
        self.node().map_or_else(Load::default, |node| node.load())
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    fn status(&self) -> Status {
        Status::from(self.status.load(Ordering::Acquire))
    }

    /// Notes how it is with the directory, and says so when that is new.
    fn set(&self, status: Status) {
        let before = Status::from(self.status.swap(status as u8, Ordering::AcqRel));
        if before != status && status == Status::Here {
            tracing::info!(address = self.keys.address, "in the directory");
        }
    }

    fn claims(&self) -> MutexGuard<'_, Claims> {
        // Nothing between lock and unlock can panic half-way through a change.
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn redeemed(&self) -> MutexGuard<'_, Redeemed> {
        // Likewise.
        self.redeemed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what the directory's clock said when it answered, after so long: by it claims of different nodes are
    /// compared. An answer that took long tells little, and the first is better than none.
    fn set_clock(&self, now: i64, took: Duration) {
        if took < CLOCK_WITHIN || self.status() != Status::Here {
            let then = self.begun.elapsed().saturating_sub(took / 2);
            self.clock.store(now.saturating_sub(millis(then)), Ordering::Relaxed);
        }
    }

    /// The directory's time, in milliseconds.
    fn now(&self) -> i64 {
        self.clock.load(Ordering::Relaxed).saturating_add(millis(self.begun.elapsed()))
    }

    /// A connection does not get its uid, or has it no more: another node's has.
    fn lose(&self, uid: &Uid, connection: ConnectionId, duplicates: Duplicates) {
        self.claims().lose(uid, connection);
        if let Some(node) = self.node() {
            node.lose_uid(uid, connection, duplicates);
        }
    }
}

/// A node's handle on it.
struct Entered {
    place: Arc<Place>,
    /// Whether it is in the directory.
    is_node: bool,
    outgoing: Mutex<Option<mpsc::Receiver<Letter>>>,
    /// What keeps the place; ended when this is dropped.
    tasks: Mutex<JoinSet<()>>,
}

impl Entered {
    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cluster for Entered {
    fn attach(&self, node: Weak<dyn ClusterNode>) {
        // Called once.
        let _ = self.place.node.set(node);
    }

    fn start(&self) {
        let outgoing = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(outgoing) = outgoing else { return };
        let mut tasks = self.tasks();
        if self.is_node {
            tasks.spawn(directory::keep(Arc::clone(&self.place)));
        }
        let place = Arc::clone(&self.place);
        tasks.spawn(async move { bus::run(&place, outgoing).await });
    }

    fn load_changed(&self) {
        self.place.changed.notify_one();
    }

    fn redeem(&self, reservation: ReservationId) {
        self.place.redeemed().add(reservation);
        self.load_changed();
    }

    fn drain(&self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            self.place.draining.store(true, Ordering::Release);
            self.place.drain.notify_one();
            if self.place.status() == Status::Here {
                let mut unlisted = self.place.unlisted.subscribe();
                // Where it takes longer, the directory is about to be away.
                let _ = timeout(UNLISTED_WITHIN, unlisted.wait_for(|unlisted| *unlisted)).await;
            }
            true
        })
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.place.leaving.store(true, Ordering::Release);
            self.place.leave.notify_one();
            let is_here = matches!(self.status(), Status::Here | Status::Fenced);
            let patience = if is_here { LEFT_WITHIN } else { ANSWERED_WITHIN };
            // The directory's ends when it has told, or tried to; the bus goes with it.
            let mut tasks = std::mem::take(&mut *self.tasks());
            if !tasks.is_empty() && timeout(patience, tasks.join_next()).await.is_err() {
                tracing::warn!("the directory did not answer: this node's lease will run out there");
            }
        })
    }

    fn status(&self) -> Status {
        self.place.status()
    }

    fn wait_until_known(&self) -> BoxFuture<'_, bool> {
        Box::pin(self.place.bus.begun())
    }

    fn reaches(&self, to: Address<&str>) -> bool {
        self.place.bus.reaches(to)
    }

    fn publish(&self, to: Address<&str>, message: NodeMessage) -> Result<(), Unavailable> {
        self.place.bus.publish(&self.place, to, &message)
    }

    fn subscribe(&self, room: &str) {
        self.place.bus.subscribe(room);
    }

    fn unsubscribe(&self, room: &str) {
        self.place.bus.unsubscribe(room);
    }

    fn subscribed<'a>(&'a self, room: &'a str) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(self.place.bus.subscribed(room))
    }

    fn claim(&self, uid: &Uid, connection: ConnectionId, order: u64) {
        let at = self.place.now();
        self.place.claims().claim(uid, connection, order, at);
        self.load_changed();
    }

    fn release(&self, uid: &Uid, connection: ConnectionId) {
        self.place.claims().release(uid, connection);
        self.load_changed();
    }

    fn members<'a>(&'a self, room: &'a str) -> BoxFuture<'a, Gathered> {
        Box::pin(self.place.bus.members(&self.place, room))
    }
}

impl fmt::Debug for Entered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entered").field("address", &self.place.keys.address).finish_non_exhaustive()
    }
}
