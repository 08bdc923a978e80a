//! A room whose game loop this node runs, or is ready to take over.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::node_state::{CreateLoop, LoopFault, LoopLease, LoopSettings};
use crate::protocol::Uid;

/// Where the loop of a room runs, as far as this node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LoopStatus {
    /// Nowhere, or not known.
    Unknown,
    /// On this node, which runs this kind.
    Here(&'static str),
    /// On another node. This one is ready to take it over, because it runs this kind too.
    Elsewhere(&'static str),
    /// On another node or on none. This one does not take it over, because it is of another kind, which has this name.
    OtherKind(Arc<str>),
}

impl LoopStatus {
    /// Whether the loop runs here, or this node is ready to take it over.
    pub(super) fn is_known(&self) -> bool {
        matches!(self, Self::Here(_) | Self::Elsewhere(_))
    }

    pub(super) fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Elsewhere(_))
    }
}

/// The type of a game loop, without the type.
#[derive(Clone)]
pub(super) struct LoopPlan {
    pub(super) create: CreateLoop,
    pub(super) settings: LoopSettings,
}

/// A room whose game loop this node runs, or is ready to take over.
pub(super) struct LoopEntry {
    pub(super) name: Arc<str>,
    /// The loop that this node runs or is ready to take over; `None` before the first one.
    plan: Mutex<Option<LoopPlan>>,
    /// The loop that is to be started if the room has none: the one that `run` was last called for.
    wanted: Mutex<Option<LoopPlan>>,
    pub(super) status: watch::Sender<LoopStatus>,
    /// The loop, if it runs here. It may stand still because its lease has ended.
    runner: Mutex<Option<Arc<RunnerHandle>>>,
    /// Whether the keeper will look at this entry before its next period.
    pub(super) is_flagged: AtomicBool,
    /// Whether users have joined or left on this node since the loop was last told.
    pub(super) members_changed: AtomicBool,
    /// Held while a roster and the messages after it are sent to another node.
    pub(super) order: Mutex<()>,
}

impl LoopEntry {
    pub(super) fn new(room: &str) -> Self {
        Self {
            name: room.into(),
            plan: Mutex::default(),
            wanted: Mutex::default(),
            status: watch::Sender::new(LoopStatus::Unknown),
            runner: Mutex::default(),
            is_flagged: AtomicBool::new(false),
            members_changed: AtomicBool::new(true),
            order: Mutex::default(),
        }
    }

    pub(super) fn plan(&self) -> Option<LoopPlan> {
        self.plan.lock().clone()
    }

    /// Records that this node runs a loop, or is ready to take it over.
    pub(super) fn set_plan(&self, plan: LoopPlan) {
        *self.plan.lock() = Some(plan);
    }

    pub(super) fn wanted(&self) -> Option<LoopPlan> {
        self.wanted.lock().clone()
    }

    /// Sets which loop is to be started if the room has none.
    pub(super) fn want(&self, plan: Option<LoopPlan>) {
        *self.wanted.lock() = plan;
    }

    pub(super) fn runner(&self) -> Option<Arc<RunnerHandle>> {
        self.runner.lock().clone()
    }

    pub(super) fn set_runner(&self, runner: Option<Arc<RunnerHandle>>) {
        *self.runner.lock() = runner;
    }

    /// Records that the loop ends here, so that each later `run` starts a new one.
    pub(super) fn loop_is_over(&self) {
        if self.status.borrow().is_known() {
            self.want(None);
            self.status.send_replace(LoopStatus::Unknown);
        }
    }

    /// Lets the loop see what has changed. Returns whether it runs here.
    pub(super) fn wake(&self) -> bool {
        self.runner().inspect(|runner| runner.wake.notify_one()).is_some()
    }

    /// Puts a message into the queue of the loop. Returns it if the loop does not run here or is of another kind, or if
    /// the queue is full.
    pub(super) fn send(&self, kind: &str, message: Bytes, reply: ReplyTo) -> Result<(), (LoopFault, Bytes)> {
        let Some(runner) = self.runner().filter(|runner| !runner.queue.is_closed()) else {
            return Err((LoopFault::NotRunning, message));
        };
        let own = runner.plan.settings.kind;
        if own != kind {
            return Err((LoopFault::OtherKind(own.to_owned()), message));
        }
        runner.queue.try_send(Letter { message, reply }).map_err(|failure| match failure {
            TrySendError::Full(letter) => (LoopFault::Busy, letter.message),
            TrySendError::Closed(letter) => (LoopFault::NotRunning, letter.message),
        })
    }
}

/// A message in the queue of a loop.
pub(super) struct Letter {
    pub(super) message: Bytes,
    pub(super) reply: ReplyTo,
}

/// Who waits for the reply to a message.
pub(super) enum ReplyTo {
    Nobody,
    Here(oneshot::Sender<Result<Bytes, LoopFault>>),
    There { node: Box<str>, number: u64 },
}

/// What the node knows about a loop that runs here.
pub(super) struct RunnerHandle {
    pub(super) plan: LoopPlan,
    queue: mpsc::Sender<Letter>,
    pub(super) lease: Arc<LoopLease>,
    /// Notified when the loop must look at its members, its lease or the flags of the node.
    pub(super) wake: Notify,
    /// The users in the room on other nodes.
    pub(super) rosters: Mutex<HashMap<Box<str>, Roster>>,
    rosters_changed: AtomicBool,
    /// Whether another node has the lease, so that this loop must be dropped.
    is_lost: AtomicBool,
    /// What must be saved with the next renewal of the lease.
    pub(super) unsaved: Mutex<Option<Bytes>>,
    pub(super) ending: Mutex<Option<LoopEnding>>,
}

/// The users in a room on another node.
pub(super) struct Roster {
    pub(super) users: Vec<Uid>,
    /// Whether that node can take the loop over.
    pub(super) stands_by: bool,
    pub(super) received: Instant,
}

/// How a loop has ended.
#[derive(Clone, Debug)]
pub(super) enum LoopEnding {
    /// It has ended itself.
    Over,
    /// There were no users for too long.
    Alone,
    /// Another node may take it over, with what was saved.
    HandOver(Option<Bytes>),
    /// It has panicked, and starts anew with what was last saved.
    Failed,
    /// Another node has the lease.
    Lost,
}

impl RunnerHandle {
    pub(super) fn new(plan: LoopPlan, lease: Arc<LoopLease>, max_queue: usize) -> (Arc<Self>, mpsc::Receiver<Letter>) {
        let (queue, letters) = mpsc::channel(max_queue);
        let handle = Self {
            plan,
            queue,
            lease,
            wake: Notify::new(),
            rosters: Mutex::default(),
            rosters_changed: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
            unsaved: Mutex::default(),
            ending: Mutex::default(),
        };
        (Arc::new(handle), letters)
    }

    pub(super) fn set_roster(&self, node: &str, users: Vec<Uid>, stands_by: bool) {
        let mut rosters = self.rosters.lock();
        if users.is_empty() {
            rosters.remove(node);
        } else {
            rosters.insert(node.into(), Roster { users, stands_by, received: Instant::now() });
        }
        drop(rosters);
        self.rosters_changed.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    pub(super) fn take_rosters_changed(&self) -> bool {
        self.rosters_changed.swap(false, Ordering::AcqRel)
    }

    /// Drops the loop, because another node has the lease.
    pub(super) fn lose(&self) {
        self.is_lost.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }
}
