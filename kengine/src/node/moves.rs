//! The sessions that are on their way from a node or to it, and which of them get nothing from the bus meanwhile.

use std::collections::HashMap;
use std::mem;
use std::sync::{OnceLock, Weak};

use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;

use crate::node_state::sync::atomic::{AtomicUsize, Ordering};
use crate::node_state::{ConnectionId, HandOverStep, SessionHolder};

/// How many steps of one hand-over may wait. There are never more, unless another node repeats itself.
pub(super) const MAX_WAITING_STEPS: usize = 8;

/// The sessions that are on their way from this node or to it.
#[derive(Default)]
pub(super) struct Moves {
    pub(super) holder: OnceLock<Weak<dyn SessionHolder>>,
    /// What these connections do not get from the bus.
    unheard: RwLock<HashMap<ConnectionId, Unheard>>,
    /// The number of these connections. Read for every message of the bus.
    count: AtomicUsize,
    /// The hand-overs that this node has asked for, by the numbers of the connections that they are for.
    pub(super) awaited: Mutex<HashMap<u64, mpsc::Sender<(String, HandOverStep)>>>,
}

/// What a connection does not get from the bus, because the other node delivers it.
pub(super) enum Unheard {
    Everything,
    /// Everything until this node is ready, and from then on every message that the other node sends. Holds the boot id
    /// of the other node.
    UntilReady(String),
    /// Every message that the node with this boot id sends.
    Of(String),
}

impl Unheard {
    fn includes(&self, from: &str) -> bool {
        match self {
            Self::Everything | Self::UntilReady(_) => true,
            Self::Of(node) => node == from,
        }
    }
}

impl Moves {
    /// Withholds from a connection what the bus brings. Returns whether nothing was withheld before.
    pub(super) fn ignore(&self, connection: ConnectionId, what: Unheard) -> bool {
        let mut unheard = self.unheard.write();
        let is_first = unheard.insert(connection, what).is_none();
        self.count.store(unheard.len(), Ordering::Release);
        is_first
    }

    /// Lets a connection get what nodes other than the old one send.
    pub(super) fn ready(&self, connection: ConnectionId) {
        if let Some(unheard) = self.unheard.write().get_mut(&connection)
            && let Unheard::UntilReady(old_node) = unheard
        {
            *unheard = Unheard::Of(mem::take(old_node));
        }
    }

    pub(super) fn ignore_nothing(&self, connection: ConnectionId) {
        let mut unheard = self.unheard.write();
        unheard.remove(&connection);
        self.count.store(unheard.len(), Ordering::Release);
    }

    /// Returns the connections that do not get a message of this node.
    pub(super) fn who_ignores(&self, from: &str) -> Vec<ConnectionId> {
        // Only the task that receives from the bus reads this after a step, so it sees what each step has changed.
        if self.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let unheard = self.unheard.read();
        unheard.iter().filter(|(_, what)| what.includes(from)).map(|(id, _)| *id).collect()
    }
}
