//! The hub: the handle to the users and rooms of a server and its cluster.

use std::{fmt, sync::Arc, task::Waker};

#[cfg(feature = "redis")]
use crate::cluster::redis::{Outsider, Redis};
use crate::node::Node;
use crate::node_state::deferred_wakes;
#[cfg(feature = "redis")]
use crate::node_state::{Duplicates, Limits};
#[cfg(feature = "redis")]
use crate::protocol::{StartError, Syntax};

/// The handle to rooms, users, and all connections. Handlers and hooks take it as the argument `&Hub`; elsewhere it
/// comes from [`Bound::hub`](crate::Bound::hub). It is cheap to clone and can be used from any task.
///
/// ```
/// use kengine::{Connection, Error, Hub, Push};
///
/// #[derive(serde::Serialize, Push)]
/// struct Said<'a> {
///     text: &'a str,
/// }
///
/// struct Game;
///
/// #[kengine::dispatcher]
/// impl Game {
///     #[route]
///     async fn join(&self, hub: &Hub, connection: &Connection, room: String) -> Result<(), Error> {
///         Ok(hub.room(&room).join(connection).await?)
///     }
///
///     #[route]
///     async fn say(&self, hub: &Hub, connection: &Connection, text: String) -> Result<(), Error> {
///         hub.room("lobby").except(connection).send(&Said { text: &text })?;
///         Ok(())
///     }
/// }
/// ```
///
/// Sends never wait. A connection whose outbox is full is closed. All members of a room see the pushes of one sender in
/// the same order. What a handler sends to other connections goes out when the handler ends or awaits, so a handler
/// that blocks its thread delays it.
#[derive(Clone)]
pub struct Hub {
    node: Arc<Node>,
}

impl Hub {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Returns how many connections this node has, including handshakes that are being accepted, and connections that
    /// have ended until their sockets are closed and `#[close]` has run.
    pub fn connections(&self) -> usize {
        self.node.connections()
    }

    /// Returns how many of the [connections](Self::connections) of this node wait for their players to
    /// [resume](crate::Server::resume_within) their sessions.
    pub fn suspended(&self) -> usize {
        self.node.suspended()
    }

    /// Sends several pushes so that each client gets them in one write, as it gets the pushes of a handler. Use it in
    /// your own tasks, for example in a game's tick.
    ///
    /// ```
    /// # use kengine::{Hub, Push};
    /// # #[derive(serde::Serialize, Push)]
    /// # struct Position(u32);
    /// # fn tick(hub: &Hub) {
    /// hub.batch(|| {
    ///     for ship in 0..9 {
    ///         let _ = hub.room("arena").send(&Position(ship));
    ///     }
    /// });
    /// # }
    /// ```
    pub fn batch<T>(&self, sends: impl FnOnce() -> T) -> T {
        // Wakes are deferred per thread, so this holds for every hub that `sends` uses.
        deferred_wakes::defer_while(Waker::noop(), sends)
    }

    /// Returns the total size of all outboxes of this node, and of the answers and pushes that sockets do not take, in
    /// bytes. It is counted in steps of 4 KiB per connection.
    pub fn queued_bytes(&self) -> usize {
        self.node.fan_out.backlog.bytes()
    }

    /// Returns how many sends and kicks did not reach other nodes, because the nodes could not be reached or too many
    /// messages waited for them.
    pub fn unpublished(&self) -> u64 {
        self.node.unpublished()
    }

    /// Returns how often clients have exceeded each limit of this node, by the name of its setter on
    /// [`Server`](crate::Server): `max_connections`, `max_handshakes_per_second`, `max_pending_handshakes`, each of
    /// them also with `_per_address`, `max_messages_per_second`, `max_bytes_per_second`, `max_pings_per_second`,
    /// `max_fragments_per_message`, `max_joins_per_second`, `max_rooms`, `max_game_loops`, `max_game_loop_queue`,
    /// `max_game_loop_saved_size` and `max_total_outbox_size`. Two have no setter: `open_files`, for sockets that could
    /// not be opened, or were closed or cut off because no file was left; and `operator_sockets`, for those of
    /// [`Server::operate`](crate::Server::operate).
    ///
    /// Each message, join, handshake or socket that was refused counts as one, and so does each connection that was
    /// closed.
    ///
    /// ```
    /// # fn show(hub: &kengine::Hub) {
    /// for (limit, times) in hub.refusals() {
    ///     println!("{limit} was exceeded {times} times");
    /// }
    /// # }
    /// ```
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.node.refusals.totals()
    }
}

#[cfg(feature = "redis")]
impl Hub {
    /// Connects a program that is not a node to a cluster in Redis. The hub can send to the rooms and users of the
    /// cluster until it is dropped. Its pushes reach endpoints with the default [`Syntax`](crate::wire::Syntax).
    ///
    /// ```no_run
    /// # use kengine::{Hub, Push};
    /// #[derive(serde::Serialize, Push)]
    /// struct Maintenance {
    ///     minutes: u32,
    /// }
    ///
    /// # async fn announce() -> Result<(), Box<dyn std::error::Error>> {
    /// let hub = Hub::connect("redis://10.0.0.2/").await?;
    /// hub.all().send(&Maintenance { minutes: 5 })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`StartError::Redis`](crate::StartError::Redis) if the URL is invalid,
    /// [`StartError::RedisUnreachable`](crate::StartError::RedisUnreachable) if Redis does not answer. If the
    /// connection is lost later, the hub reconnects by itself; in the meantime sends fail with
    /// [`SendError::Unavailable`](crate::push::SendError::Unavailable).
    pub async fn connect(redis: impl Into<Redis>) -> Result<Self, StartError> {
        // This program does not know where users are, so messages to a user go to all nodes.
        let limits = Limits { duplicates: Duplicates::Allow, ..Limits::default() };
        let cluster = Outsider(redis.into());
        let node = Node::new(limits, vec![&Syntax::DEFAULT], Vec::new(), &cluster, None, String::new())?;
        node.cluster.start();
        if !node.cluster.wait_until_known().await {
            return Err(StartError::RedisUnreachable);
        }
        Ok(Self::new(node))
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("connections", &self.connections()).finish_non_exhaustive()
    }
}
