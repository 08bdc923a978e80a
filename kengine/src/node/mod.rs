//! One node: it composes its users and rooms with its cluster.

pub(crate) mod admission;
mod drain;
mod ending;
pub(crate) mod expiry;
mod game_loops;
pub(crate) mod hand_over;
#[cfg(all(test, kengine_model))]
mod model;
mod moves;
mod sending;
mod watching;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};

use tokio::runtime::Handle;
use tokio::sync::watch;

use self::game_loops::registry::GameLoops;
use self::moves::Moves;
use crate::cluster::node_tag;
use crate::node_state::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::node_state::sync::{Mutex, Notify};
use crate::node_state::{
    Bucket, ClientAddresses, Clock, Cluster, ClusterNode, ConnectionId, Counters, Ending, Expiries, FanOut,
    JoinCluster, Limits, LocalRooms, NodeInfo, Refusals, Users,
};
use crate::protocol::{StartError, Syntax, random_bits};

/// One server, or one hub of `Hub::connect`, as a member of its cluster.
pub(crate) struct Node {
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    /// What begins the tokens with which clients resume their sessions on this node.
    pub(crate) tag: u32,
    pub(crate) fan_out: Arc<FanOut>,
    users: Users,
    pub(crate) rooms: LocalRooms,
    pub(crate) cluster: Arc<dyn Cluster>,
    loops: Arc<GameLoops>,
    pub(crate) addresses: ClientAddresses,
    pub(crate) refusals: Arc<Refusals>,
    /// The counters of each endpoint.
    counters: Vec<Arc<Counters>>,
    /// Sends and kicks that other nodes did not get.
    unpublished: AtomicU64,
    /// Connections whose sockets are open, without handshakes that are being accepted.
    connected: AtomicUsize,
    /// Those of them whose player is away.
    suspended: AtomicUsize,
    next_id: AtomicU64,
    admission: Mutex<Admission>,
    /// Whether a task is already bringing the backlog under its limit.
    is_relieving: AtomicBool,
    /// Whether a task watches for silent clients and sessions that expire.
    is_watching: AtomicBool,
    expiries: Expiries,
    moves: Moves,
    /// Notified when the first session is there that expires.
    expiry_added: Arc<Notify>,
    /// Notified whenever the last slot is given back.
    emptied: Notify,
    /// Whether every connection must be cut off.
    abandoned: watch::Sender<bool>,
    /// Runs the node's own tasks, once it is known; before, the current runtime does.
    runtime: OnceLock<Handle>,
}

/// What decides whether the node takes another connection.
struct Admission {
    /// Slots in use: open sockets of connections, and handshakes that are being accepted.
    slots: usize,
    handshakes: Bucket,
    /// How every connection ends, including later ones. Set when the node drains, and never cleared.
    ending: Option<Ending>,
}

impl Node {
    /// Creates a node and joins it to its cluster.
    ///
    /// # Errors
    ///
    /// The configuration of the cluster is invalid.
    pub(crate) fn new(
        mut limits: Limits,
        syntaxes: Vec<&'static Syntax>,
        counters: Vec<Arc<Counters>>,
        cluster: &dyn JoinCluster,
        listens: Option<SocketAddr>,
        version: String,
    ) -> Result<Arc<Self>, StartError> {
        let boot = random_bits();
        // The largest message fits into the burst.
        limits.rates.bytes = limits.rates.bytes.with_burst_of_at_least(limits.max_message_size);
        // It is computed once, and not for each message.
        limits.max_fragments_per_message = Some(limits.message().max_fragments);
        let (max_connections, duplicates) = (limits.max_connections, limits.duplicates);
        let cluster = cluster.join(NodeInfo { boot, listens, max_connections, duplicates, version })?;
        let fan_out = Arc::new(FanOut::new(syntaxes, &limits));
        let (clock, refusals) = (Clock::start(), Arc::<Refusals>::default());
        let node = Arc::new(Self {
            users: Users::default(),
            rooms: LocalRooms::new(
                boot,
                &limits,
                clock,
                Arc::clone(&refusals),
                Arc::clone(&fan_out),
                Arc::clone(&cluster),
            ),
            addresses: ClientAddresses::new(limits.per_address, clock),
            refusals,
            clock,
            limits,
            tag: node_tag(boot),
            fan_out,
            cluster,
            loops: Arc::default(),
            counters,
            unpublished: AtomicU64::new(0),
            connected: AtomicUsize::new(0),
            suspended: AtomicUsize::new(0),
            next_id: AtomicU64::new(1),
            admission: Mutex::new(Admission { slots: 0, handshakes: Bucket::default(), ending: None }),
            is_relieving: AtomicBool::new(false),
            is_watching: AtomicBool::new(false),
            expiries: Expiries::default(),
            moves: Moves::default(),
            expiry_added: Arc::default(),
            emptied: Notify::new(),
            abandoned: watch::Sender::new(false),
            runtime: OnceLock::new(),
        });
        let weak: Weak<Self> = Arc::downgrade(&node);
        node.cluster.attach(weak as Weak<dyn ClusterNode>);
        Ok(node)
    }

    /// Starts the tasks of the cluster on this runtime, and later the other tasks of the node.
    pub(crate) fn start_on(&self, runtime: &Handle) {
        let _entered = self.runtime.get_or_init(|| runtime.clone()).enter();
        self.cluster.start();
    }

    /// Runs a task of the node itself.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match self.runtime.get() {
            Some(runtime) => runtime.spawn(task),
            None => tokio::spawn(task),
        };
    }

    pub(crate) fn next_id(&self) -> ConnectionId {
        ConnectionId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns the number of connections whose sockets are open, including handshakes that are being accepted.
    pub(crate) fn connections(&self) -> usize {
        self.admission.lock().slots
    }

    /// Returns the number of connections whose player is away.
    pub(crate) fn suspended(&self) -> usize {
        self.suspended.load(Ordering::Relaxed)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.admission.lock().ending.is_some()
    }

    /// Returns how many sends and kicks other nodes did not get.
    pub(crate) fn unpublished(&self) -> u64 {
        self.unpublished.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("limits", &self.limits).finish_non_exhaustive()
    }
}
