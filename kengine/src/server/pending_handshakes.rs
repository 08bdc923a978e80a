//! The sockets that are not connections yet, by age.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::node::Node;
use crate::node_state::{ClientAddress, Limit};

/// The age below which no socket is cut off, however many clients come: enough for a request from the other side of the
/// world. Meanwhile new clients wait in the queue of the kernel.
const MIN_AGE: Duration = Duration::from_millis(250);

/// The sockets of a listener that are not connections yet.
pub(super) struct PendingHandshakes {
    node: Arc<Node>,
    /// The maximum number that waits.
    max: usize,
    /// The name of that maximum.
    limit: Limit,
    queue: Mutex<HandshakeQueue>,
}

#[derive(Default)]
struct HandshakeQueue {
    /// The sockets that wait for their client: for a request, or for it to read a page. The oldest is the first.
    waiting: BTreeMap<u64, QueuedSocket>,
    /// The number of sockets whose request is being answered. A handshake that is being accepted holds a slot of the
    /// node.
    answering: usize,
    /// The number of the next socket.
    next: u64,
}

#[derive(Clone)]
struct QueuedSocket {
    accepted_at: Instant,
    /// Notified when the socket must be cut off.
    cut: Arc<Notify>,
}

/// A socket that is not a connection yet. It leaves the queue when this is dropped.
pub(super) struct PendingHandshake {
    pending: Arc<PendingHandshakes>,
    number: u64,
    queued: QueuedSocket,
    /// The address whose pending handshakes this one counts to, unless the client has no limits.
    address: Option<ClientAddress>,
    has_requested: AtomicBool,
    /// Changed only while the queue is locked.
    is_answering: AtomicBool,
}

impl PendingHandshakes {
    pub(super) fn new(node: Arc<Node>, max: usize, limit: Limit) -> Arc<Self> {
        Arc::new(Self { node, max, limit, queue: Mutex::default() })
    }

    /// Adds a socket that was just accepted, and cuts off the oldest if there are too many. `client` is its address if
    /// it has limits.
    ///
    /// # Errors
    ///
    /// The limit that the address has reached.
    pub(super) fn begin(self: &Arc<Self>, client: Option<IpAddr>) -> Result<PendingHandshake, Limit> {
        let address = client.map(ClientAddress::from);
        if let Some(address) = address {
            self.node.addresses.begin(address)?;
        }
        let queued = QueuedSocket { accepted_at: Instant::now(), cut: Arc::new(Notify::new()) };
        let mut queue = self.queue.lock();
        let number = queue.next;
        queue.next += 1;
        queue.waiting.insert(number, queued.clone());
        let oldest = if queue.waiting.len() > self.max { queue.waiting.pop_first() } else { None };
        drop(queue);
        if let Some((_, oldest)) = oldest {
            oldest.cut.notify_one();
            self.node.refusals.record(self.limit, &"the oldest");
        }
        let (has_requested, is_answering) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(PendingHandshake { pending: Arc::clone(self), number, queued, address, has_requested, is_answering })
    }

    /// Returns how many sockets wait for their client, and how many are being answered.
    pub(super) fn counts(&self) -> (usize, usize) {
        let queue = self.queue.lock();
        (queue.waiting.len(), queue.answering)
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
            None => oldest.remove().cut.notify_one(),
            until => return Err(until),
        }
        Ok(())
    }
}

impl QueuedSocket {
    fn protected_until(&self) -> Option<Instant> {
        Some(self.accepted_at + MIN_AGE).filter(|until| *until > Instant::now())
    }
}

impl PendingHandshake {
    /// Completes when the socket must be cut off.
    pub(super) async fn cut(&self) {
        loop {
            self.queued.cut.notified().await;
            // Its request may just have come.
            if !self.is_answering.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Protects the socket from being cut off while its request is answered.
    pub(super) fn answers(&self) {
        self.has_requested.store(true, Ordering::Relaxed);
        let mut queue = self.pending.queue.lock();
        queue.waiting.remove(&self.number);
        if !self.is_answering.swap(true, Ordering::Relaxed) {
            queue.answering += 1;
        }
    }

    /// Puts the socket back, at its old place, after it was answered.
    pub(super) fn waits(&self) {
        let mut queue = self.pending.queue.lock();
        if self.is_answering.swap(false, Ordering::Relaxed) {
            queue.answering -= 1;
            queue.waiting.insert(self.number, self.queued.clone());
        }
    }
}

impl Drop for PendingHandshake {
    fn drop(&mut self) {
        let mut queue = self.pending.queue.lock();
        queue.waiting.remove(&self.number);
        queue.answering -= usize::from(*self.is_answering.get_mut());
        drop(queue);
        if let Some(address) = self.address {
            self.pending.node.addresses.end_handshake(address, *self.has_requested.get_mut());
        }
    }
}
