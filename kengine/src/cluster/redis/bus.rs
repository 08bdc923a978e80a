//! The bus: sends to other nodes, over a channel for each node, one for all nodes, and one for each room.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::cluster::redis::connection::{CommandConnection, within};
use crate::cluster::redis::message::{self, BusMessage};
use crate::cluster::redis::peers::{ANSWER_TIMEOUT, Peers};
use crate::cluster::redis::scripts::{Script, Scripts};
use crate::cluster::redis::seats_script;
use crate::cluster::redis::shared_state::SharedState;
use crate::node_state::{Address, Duplicates, Gathered, Member, NodeMessage, RoomPage, RoomQuery, Unavailable};
use crate::protocol::logged;

/// The number of messages that may wait to be sent.
const MAX_QUEUED_MESSAGES: usize = 8 * 1024;
/// The total size of the messages that may wait to be sent, in bytes.
const MAX_QUEUED_BYTES: usize = 64 * 1024 * 1024;
/// How long a join waits until the other nodes know about it.
const JOIN_TIMEOUT: Duration = Duration::from_secs(1);
/// The number of answers to one query that may wait to be read.
const MAX_WAITING_ANSWERS: usize = 256;

/// A node's side of the bus.
pub(super) struct Bus {
    pub(super) state: Arc<SharedState>,
    pub(super) peers: Peers,
    queue: mpsc::Sender<Outgoing>,
    /// The receiving end of the queue, for the task that keeps the bus connected.
    pub(super) outgoing: tokio::sync::Mutex<mpsc::Receiver<Outgoing>>,
    queued_bytes: AtomicUsize,
    status: watch::Sender<BusStatus>,
    /// The open queries for the members of a room, by number.
    queries: Mutex<HashMap<u64, mpsc::Sender<Vec<Member>>>>,
    next_query: AtomicU64,
}

/// Whether the bus is connected.
#[derive(Clone)]
enum BusStatus {
    /// It is not known yet whether the bus can be reached.
    Connecting,
    /// Holds the connection for commands, and the scripts that it has loaded.
    Up(CommandConnection, Arc<Scripts>),
    Down,
}

/// A message that waits to be sent.
pub(super) struct Outgoing {
    pub(super) to: Target,
    pub(super) bytes: Bytes,
}

pub(super) enum Target {
    Channel(String),
    /// The node that has the user with this key.
    User(String),
    /// The node that runs the game loop with this key. If there is none, this node gets the refusal, unless it is
    /// empty.
    Loop {
        key: String,
        refusal: Bytes,
    },
    /// A script, which gets these arguments and then the bytes.
    Script {
        script: Script,
        key: Option<String>,
        arguments: Vec<Bytes>,
    },
}

impl Bus {
    /// Creates a bus that is not connected.
    pub(super) fn new(state: Arc<SharedState>) -> Self {
        let (queue, outgoing) = mpsc::channel(MAX_QUEUED_MESSAGES);
        Self {
            state,
            peers: Peers::default(),
            queue,
            outgoing: outgoing.into(),
            queued_bytes: AtomicUsize::new(0),
            status: watch::Sender::new(BusStatus::Connecting),
            queries: Mutex::default(),
            next_query: AtomicU64::new(1),
        }
    }

    /// Waits until it is known whether the bus can be reached, and returns whether it can.
    pub(super) async fn wait_until_known(&self) -> bool {
        let mut status = self.status.subscribe();
        let known = status.wait_for(|status| !matches!(status, BusStatus::Connecting)).await;
        known.is_ok_and(|status| matches!(*status, BusStatus::Up(..)))
    }

    pub(super) fn publish(&self, to: Address<&str>, message: &NodeMessage) -> Result<(), Unavailable> {
        if !self.is_up() {
            return Err(Unavailable);
        }
        let SharedState { keys, boot, info, .. } = &*self.state;
        // The directory may not know yet where a user is who has just come, but every node knows its own users.
        let must_not_miss = matches!(message, NodeMessage::Kick(_)) || info.duplicates == Duplicates::Allow;
        let target = match to {
            Address::Room(room) => Target::Channel(keys.room_channel(room)),
            Address::User(uid) if !must_not_miss => Target::User(keys.user(uid)),
            Address::User(_) | Address::Everybody => Target::Channel(keys.common_channel()),
        };
        self.queue(target, message::encode(boot, to, message))
    }

    /// Queues an answer to another node. If the queue is full, the answer is dropped, and the other node's wait times
    /// out.
    pub(super) fn answer(&self, node: &str, message: &BusMessage) {
        let SharedState { keys, boot, .. } = &*self.state;
        let _ = self.queue(Target::Channel(keys.node_channel(node)), message.encode(boot));
    }

    pub(super) fn queue(&self, to: Target, bytes: Bytes) -> Result<(), Unavailable> {
        let size = bytes.len();
        let fits = self.queued_bytes.load(Ordering::Relaxed) + size <= MAX_QUEUED_BYTES;
        if !fits || !self.is_up() {
            return Err(Unavailable);
        }
        self.queued_bytes.fetch_add(size, Ordering::Relaxed);
        self.queue.try_send(Outgoing { to, bytes }).map_err(|_| {
            self.queued_bytes.fetch_sub(size, Ordering::Relaxed);
            Unavailable
        })
    }

    /// Records that a message has left the queue.
    pub(super) fn dequeued(&self, outgoing: &Outgoing) {
        self.queued_bytes.fetch_sub(outgoing.bytes.len(), Ordering::Relaxed);
    }

    /// Waits until messages to the room reach this node.
    pub(super) async fn subscribed(&self, room: &str) -> Result<(), Unavailable> {
        let settled = async {
            let mut changes = self.peers.changes.subscribe();
            while !self.peers.is_settled(room) {
                if matches!(*self.status.borrow(), BusStatus::Down) {
                    return Err(Unavailable);
                }
                // A room also settles when the answer timeout has passed, and that sends no notification.
                let _ = timeout(ANSWER_TIMEOUT, changes.changed()).await;
            }
            Ok(())
        };
        within(JOIN_TIMEOUT, settled).await.unwrap_or(Err(Unavailable))
    }

    /// Asks the other nodes for the members of a room.
    pub(super) async fn members(&self, room: &str) -> Gathered {
        let SharedState { keys, boot, .. } = &*self.state;
        let number = self.next_query.fetch_add(1, Ordering::Relaxed);
        let (answer, mut answers) = mpsc::channel(MAX_WAITING_ANSWERS);
        self.queries().insert(number, answer);
        let _open = PendingQuery { bus: self, number };
        let mut gathered = Gathered::default();
        let gathering = async {
            let (mut commands, _) = self.commands()?;
            let query = BusMessage::Who { room: room.to_owned(), number }.encode(boot);
            let mut call = redis::cmd("PUBLISH");
            call.arg(keys.room_channel(room)).arg(&query[..]);
            let receivers: usize = call.query_async(&mut commands).await.ok()?;
            let own = usize::from(self.peers.is_subscribed(room));
            for _ in 0..receivers.saturating_sub(own) {
                gathered.members.extend(answers.recv().await?);
            }
            Some(())
        };
        let is_partial = within(ANSWER_TIMEOUT, gathering).await.flatten().is_none();
        Gathered { is_partial, ..gathered }
    }

    /// Returns a page of the rooms that have seats or show data.
    pub(super) async fn list(&self, query: RoomQuery<'_>) -> Result<RoomPage, Unavailable> {
        let (mut commands, scripts) = self.commands().ok_or(Unavailable)?;
        seats_script::list(&self.state, &mut commands, &scripts, query).await.map_err(|error| {
            tracing::debug!(error = logged(&error), "the rooms cannot be listed");
            Unavailable
        })
    }

    /// Passes another node's answer to the open query with this number.
    pub(super) fn answered(&self, number: u64, members: Vec<Member>) {
        if let Some(answers) = self.queries().get(&number) {
            // If too many answers wait, this one is dropped, and the result of the query is partial.
            let _ = answers.try_send(members);
        }
    }

    fn is_up(&self) -> bool {
        matches!(*self.status.borrow(), BusStatus::Up(..))
    }

    /// Returns the connection for commands and the scripts that it has loaded, if the bus is connected.
    pub(super) fn commands(&self) -> Option<(CommandConnection, Arc<Scripts>)> {
        match &*self.status.borrow() {
            BusStatus::Up(commands, scripts) => Some((commands.clone(), Arc::clone(scripts))),
            BusStatus::Connecting | BusStatus::Down => None,
        }
    }

    /// Sets the connection for commands. `None` means that the bus is not connected.
    pub(super) fn set_connection(&self, commands: Option<(CommandConnection, Arc<Scripts>)>) {
        let status = commands.map_or(BusStatus::Down, |(commands, scripts)| BusStatus::Up(commands, scripts));
        self.status.send_replace(status);
        self.peers.changes.send_replace(());
    }

    fn queries(&self) -> MutexGuard<'_, HashMap<u64, mpsc::Sender<Vec<Member>>>> {
        // No code that holds the lock can panic in the middle of a change.
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open query. Dropping it closes the query, so that later answers are ignored.
struct PendingQuery<'b> {
    bus: &'b Bus,
    number: u64,
}

impl Drop for PendingQuery<'_> {
    fn drop(&mut self) {
        self.bus.queries().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::redis::config::Redis;
    use crate::node_state::NodeInfo;

    #[tokio::test]
    async fn a_query_that_cannot_be_asked_is_partial_and_is_closed() {
        let (duplicates, version) = (Duplicates::default(), String::new());
        let info = NodeInfo { boot: 1, listens: None, max_connections: 1, duplicates, version };
        let state = SharedState::new(&Redis::new("redis://localhost/"), info, "localhost:1").unwrap();
        let bus = Bus::new(Arc::new(state));
        assert!(bus.members("inn").await.is_partial);
        assert!(bus.queries().is_empty());
    }
}
