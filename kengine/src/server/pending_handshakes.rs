//! The sockets that are not connections yet, by age.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::node::Node;
use crate::node_state::{ClientAddress, Limit};

/// The age below which no socket is cut off, however many clients come: enough for a request from the other side of the
/// world. Meanwhile new clients wait in the queue of the kernel.
const MIN_AGE: Duration = Duration::from_millis(250);

/// The sockets of a listener that are not connections yet.
pub(crate) struct PendingHandshakes {
    node: Arc<Node>,
    /// The maximum number that waits.
    max: usize,
    /// The name of that maximum.
    limit: Limit,
    queue: Mutex<HandshakeQueue>,
    /// Notified when a socket has ended or become a connection.
    ended: Notify,
    /// Notified when the listener has gone.
    closed: Notify,
}

#[derive(Default)]
struct HandshakeQueue {
    /// The sockets that wait for their client: for a request, or for it to read a page. The oldest is the first.
    waiting: BTreeMap<u64, Arc<QueuedSocket>>,
    counts: PendingCounts,
    /// The number of the next socket.
    next: u64,
    /// Whether the listener has gone.
    is_closed: bool,
}

/// How many sockets are not connections yet.
#[derive(Clone, Copy, Default)]
pub(super) struct PendingCounts {
    /// Those that wait for their client.
    pub(super) waiting: usize,
    /// Those whose request is being answered. A handshake that is being accepted holds a slot of the node.
    pub(super) answering: usize,
    /// All, with those that were cut off and have not ended yet.
    pub(super) all: usize,
}

/// A socket that is not a connection yet.
pub(super) struct QueuedSocket {
    accepted_at: Instant,
    peer: SocketAddr,
    /// The task of the socket, which is aborted when the socket is cut off. Set as soon as it is spawned.
    task: OnceLock<AbortHandle>,
    /// Whether a request has come. Then hyper bounds the wait for the next one.
    has_requested: AtomicBool,
    /// Changed only while the queue is locked.
    is_answering: AtomicBool,
}

/// The place of a socket in the queue, which it leaves when this is dropped.
pub(crate) struct PendingHandshake {
    pending: Arc<PendingHandshakes>,
    number: u64,
    queued: Arc<QueuedSocket>,
    /// The address whose pending handshakes this one counts to, unless the client has no limits.
    address: Option<ClientAddress>,
}

impl PendingHandshakes {
    pub(crate) fn new(node: Arc<Node>, max: usize, limit: Limit) -> Arc<Self> {
        let (queue, ended, closed) = (Mutex::default(), Notify::new(), Notify::new());
        Arc::new(Self { node, max, limit, queue, ended, closed })
    }

    /// Adds a socket that was just accepted, and cuts off the oldest if there are too many. `client` is its address if
    /// it has limits.
    ///
    /// # Errors
    ///
    /// The limit that the address has reached.
    pub(crate) fn begin(self: &Arc<Self>, client: Option<IpAddr>, peer: SocketAddr) -> Result<PendingHandshake, Limit> {
        let address = client.map(ClientAddress::from);
        if let Some(address) = address {
            self.node.addresses.begin(address)?;
        }
        let queued = Arc::new(QueuedSocket {
            accepted_at: Instant::now(),
            peer,
            task: OnceLock::new(),
            has_requested: AtomicBool::new(false),
            is_answering: AtomicBool::new(false),
        });
        let mut queue = self.queue.lock();
        let number = queue.next;
        queue.next += 1;
        queue.counts.all += 1;
        queue.waiting.insert(number, Arc::clone(&queued));
        let oldest = if queue.waiting.len() > self.max { queue.waiting.pop_first() } else { None };
        drop(queue);
        if let Some((_, oldest)) = oldest {
            oldest.cut();
            self.node.refusals.record(self.limit, &"the oldest");
        }
        Ok(PendingHandshake { pending: Arc::clone(self), number, queued, address })
    }

    /// Returns how many sockets there are.
    pub(super) fn counts(&self) -> PendingCounts {
        let queue = self.queue.lock();
        PendingCounts { waiting: queue.waiting.len(), ..queue.counts }
    }

    /// Returns when the next socket may be accepted; `None` means now. It waits while it would cut off the oldest
    /// socket and that socket is still protected.
    pub(super) fn full_until(&self) -> Option<Instant> {
        let queue = self.queue.lock();
        let is_full = queue.waiting.len() >= self.max;
        queue.waiting.first_key_value().filter(|_| is_full).and_then(|(_, oldest)| oldest.protected_until())
    }

    /// Cuts off the socket that has waited for the longest.
    ///
    /// # Errors
    ///
    /// When it may be cut off; or `None` if no socket waits.
    pub(super) fn cut_oldest(&self) -> Result<(), Option<Instant>> {
        let mut queue = self.queue.lock();
        let oldest = queue.waiting.first_entry().ok_or(None)?;
        match oldest.get().protected_until() {
            None => oldest.remove().cut(),
            until => return Err(until),
        }
        Ok(())
    }

    /// Returns when a socket that was accepted at this time is cut off if its client has sent nothing.
    pub(super) fn silent_at(&self, accepted_at: Instant) -> Instant {
        accepted_at + self.node.limits.handshake_timeout
    }

    /// Cuts off the sockets whose clients have sent nothing in time. Returns when to look again, if any socket is left.
    pub(super) fn cut_silent(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut queue = self.queue.lock();
        loop {
            let (&number, oldest) =
                queue.waiting.iter().find(|(_, queued)| !queued.has_requested.load(Ordering::Relaxed))?;
            let silent_at = self.silent_at(oldest.accepted_at);
            if silent_at > now {
                return Some(silent_at);
            }
            if let Some(silent) = queue.waiting.remove(&number) {
                silent.cut();
            }
        }
    }

    /// Completes when a socket has ended or become a connection, perhaps before this call.
    pub(super) async fn one_ended(&self) {
        self.ended.notified().await;
    }

    /// Ends every socket, because the listener has gone. One whose handshake is being accepted ends if it is refused.
    pub(super) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.is_closed = true;
        while let Some((_, queued)) = queue.waiting.pop_first() {
            queued.cut();
        }
        drop(queue);
        self.closed.notify_waiters();
    }
}

impl QueuedSocket {
    fn protected_until(&self) -> Option<Instant> {
        Some(self.accepted_at + MIN_AGE).filter(|until| *until > Instant::now())
    }

    /// Sets the task of the socket. The owner of the queue calls this before it cuts off any socket.
    pub(super) fn set_task(&self, task: AbortHandle) {
        // It is set only once.
        let _ = self.task.set(task);
    }

    pub(super) fn accepted_at(&self) -> Instant {
        self.accepted_at
    }

    fn cut(&self) {
        let peer = self.peer;
        tracing::debug!(%peer, "a pending handshake was cut off");
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

impl PendingHandshake {
    pub(super) fn queued(&self) -> &Arc<QueuedSocket> {
        &self.queued
    }

    /// Completes when the listener has gone.
    pub(super) async fn closed(&self) {
        let closed = self.pending.closed.notified();
        if !self.pending.queue.lock().is_closed {
            closed.await;
        }
    }

    /// Protects the socket from being cut off while its request is answered. Returns whether it is not cut off already.
    pub(super) fn answers(&self) -> bool {
        self.queued.has_requested.store(true, Ordering::Relaxed);
        let mut queue = self.pending.queue.lock();
        let is_waiting = queue.waiting.remove(&self.number).is_some();
        if is_waiting {
            self.queued.is_answering.store(true, Ordering::Relaxed);
            queue.counts.answering += 1;
        }
        is_waiting
    }

    /// Puts the socket back, at its old place, after it was answered.
    pub(super) fn waits(&self) {
        let mut queue = self.pending.queue.lock();
        if self.queued.is_answering.swap(false, Ordering::Relaxed) {
            queue.counts.answering -= 1;
            queue.waiting.insert(self.number, Arc::clone(&self.queued));
        }
    }
}

impl Drop for PendingHandshake {
    fn drop(&mut self) {
        let is_answering = self.queued.is_answering.load(Ordering::Relaxed);
        let mut queue = self.pending.queue.lock();
        queue.counts.all -= 1;
        queue.counts.answering -= usize::from(is_answering);
        if !is_answering {
            queue.waiting.remove(&self.number);
        }
        drop(queue);
        if let Some(address) = self.address {
            let has_requested = self.queued.has_requested.load(Ordering::Relaxed);
            self.pending.node.addresses.end_handshake(address, has_requested);
        }
        self.pending.ended.notify_one();
    }
}
