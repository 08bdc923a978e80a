//! The connection: the handle that handlers hold, here; its life and its socket, beside.

mod ask;
mod life;
mod link;
pub(crate) mod stream;
mod workspace;

pub use self::ask::{Ask, AskError};
pub(crate) use self::{ask::Questions, life::Life, stream::Stream};

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use serde_json::Value;

use crate::{
    Close, Frame, Hub, Push, Room, Session, Syntax, Uid,
    contained::call_contained,
    hub::{Memberships, Recipient},
    node::Node,
    outbox::{Ending, Key, Outbox, Queued, SendError},
    policy::Meters,
    push,
};

/// What tells one connection of this process from every other: never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

impl ConnectionId {
    pub(crate) fn new(number: u64) -> Self {
        Self(number)
    }

    #[cfg(feature = "redis")]
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A player's connection: cheap to clone, and usable from any task for as long as it is kept.
///
/// ```
/// use kengine::{Connection, Push};
///
/// #[derive(serde::Serialize)]
/// struct Morning {}
///
/// impl Push for Morning {
///     const NAME: &'static str = "morning";
/// }
///
/// struct Game;
///
/// #[kengine::dispatcher]
/// impl Game {
///     #[route]
///     async fn sleep(&self, connection: &Connection) {
///         let connection = connection.clone();
///         tokio::spawn(async move {
///             tokio::time::sleep(std::time::Duration::from_secs(60)).await;
///             // The player may have left meanwhile: then this is an error that nobody needs to know.
///             let _ = connection.send(&Morning {});
///         });
///     }
/// }
/// ```
pub struct Connection<S = ()> {
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    id: ConnectionId,
    /// Unknown behind a router that does not tell.
    peer: Option<SocketAddr>,
    session: S,
    /// The session's, or for a guest one of ours.
    uid: Uid,
    syntax: &'static Syntax,
    outbox: Outbox,
    memberships: Memberships,
    questions: Questions,
    meters: Meters,
    /// How long the handler may run that runs now, in ms; 0 for as long as any may.
    handler_limit: AtomicU32,
    hub: Hub,
}

impl<S: Session> Recipient for Shared<S> {
    fn id(&self) -> ConnectionId {
        self.id
    }

    fn uid(&self) -> &Uid {
        &self.uid
    }

    fn syntax(&self) -> &'static Syntax {
        self.syntax
    }

    fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    fn memberships(&self) -> &Memberships {
        &self.memberships
    }

    fn questions(&self) -> &Questions {
        &self.questions
    }

    fn public(&self) -> Value {
        // Asked for whenever somebody leaves, a connection that has ended too: a panic would keep it in its rooms.
        call_contained(|| serde_json::to_value(self.session.public())).map_or(Value::Null, |shown| {
            shown.unwrap_or_else(|error| {
                tracing::error!(%error, "what a session shows to others cannot be written as JSON");
                Value::Null
            })
        })
    }
}

impl<S: Session> Connection<S> {
    pub(crate) fn new(
        node: Arc<Node>,
        session: S,
        peer: Option<SocketAddr>,
        syntax: &'static Syntax,
    ) -> Self {
        let shared = Shared {
            id: node.next_id(),
            peer,
            uid: session.uid().unwrap_or_else(Uid::random),
            session,
            syntax,
            outbox: Outbox::default(),
            memberships: Memberships::default(),
            questions: Questions::default(),
            meters: Meters::default(),
            handler_limit: AtomicU32::new(0),
            hub: Hub::new(node),
        };
        Self { shared: Arc::new(shared) }
    }

    pub(crate) fn as_recipient(&self) -> &dyn Recipient {
        &*self.shared
    }

    pub(crate) fn to_recipient(&self) -> Arc<dyn Recipient> {
        Arc::clone(&self.shared) as _
    }
}

impl<S> Connection<S> {
    /// What tells this connection from every other of this process.
    pub fn id(&self) -> ConnectionId {
        self.shared.id
    }

    /// The address at the other end of the socket, which may be a proxy's; `None` when the router in which the
    /// dispatcher is mounted does not tell.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.shared.peer
    }

    /// What `#[accept]` made of the player.
    pub fn session(&self) -> &S {
        &self.shared.session
    }

    /// Who the player is: the session's uid, or for a guest a random one that stays the connection's.
    pub fn uid(&self) -> &Uid {
        &self.shared.uid
    }

    /// The server's handle: who else is here, and how to reach them.
    pub fn hub(&self) -> &Hub {
        &self.shared.hub
    }

    /// The rooms that the connection is in.
    ///
    /// ```
    /// # use kengine::{Connection, Error, Push};
    /// # fn tell<P: Push>(connection: &Connection, push: &P) -> Result<(), Error> {
    /// for room in connection.rooms() {
    ///     room.except(connection).send(push)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn rooms(&self) -> Vec<Room<'_>> {
        let names = self.shared.memberships.names();
        names.iter().map(|name| self.hub().room(String::from(&**name))).collect()
    }

    /// What waits in the connection's outbox, because the client has not taken it yet.
    pub fn queued(&self) -> Queued {
        self.shared.outbox.queued()
    }

    /// Sends a push. It is queued in the connection's outbox, at once and without waiting; pushes arrive in
    /// the order in which they were queued, but for a [`latest`](crate::Delivery::Latest) one, which takes the place
    /// of the one that waits.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] when the connection has ended, [`SendError::TooSlow`] when the outbox is full
    /// (1,024 pushes or 256 KiB by default; the connection is then closed with 4002), [`SendError::Encode`] when
    /// the push cannot be written as JSON.
    pub fn send<P: Push + ?Sized>(&self, push: &P) -> Result<(), SendError> {
        let frame = push::encode(push, *self.shared.syntax)?;
        self.queue(frame, push::key_of(push).as_ref())
    }

    /// Asks the client something: sends a push that it is to answer, and waits for the answer, an `R`.
    ///
    /// ```
    /// use kengine::{Connection, Error, Push};
    ///
    /// #[derive(serde::Serialize, Push)]
    /// struct Trade {
    ///     offers: &'static str,
    /// }
    ///
    /// async fn offer(connection: &Connection) -> Result<bool, Error> {
    ///     Ok(connection.ask::<bool>(&Trade { offers: "a sword" }).await?)
    /// }
    /// ```
    ///
    /// The client gets `{"id":1,"method":"trade","message":{"offers":"a sword"}}`, where the id is the server's, and
    /// sends `{"id":1,"result":true}`, or `{"id":1,"error":{"code":"…","message":"…"}}`. Its answer overtakes the
    /// requests it has sent before, as far as they are read while a handler runs: a handler may ask its own client.
    ///
    /// # Errors
    ///
    /// [`AskError::TimedOut`] when the client does not answer within 10 s, or [what is said](Ask::within);
    /// [`AskError::Refused`] when it answers with an error. The others say that it could not be asked.
    pub fn ask<'a, R>(&'a self, push: &'a (impl Push + Sync + ?Sized)) -> Ask<'a, R, S> {
        Ask::new(self, push)
    }

    fn queue(&self, frame: Bytes, key: Option<&Key>) -> Result<(), SendError> {
        let node = self.node();
        let queued = self.shared.outbox.push(frame, key, node.limits.outbox, &node.backlog);
        node.relieve();
        queued
    }

    /// Closes the connection: what is queued is sent first, then the close frame. No further message is
    /// handled, and a handler that still waits when the close frame is sent is heard no more: its request gets no
    /// answer. The first close stands.
    pub fn close(&self, close: impl Into<Close>) {
        self.shared.outbox.end(Ending::Close(close.into()));
    }

    pub(crate) fn is_heartbeat(&self, frame: Frame<'_>) -> bool {
        frame.as_bytes() == self.node().limits.heartbeat.asks.as_bytes()
    }

    pub(crate) fn meters(&self) -> &Meters {
        &self.shared.meters
    }

    /// Limits the handler that runs now to so much time, at least 1 ms.
    pub(crate) fn set_handler_limit(&self, limit: Duration) {
        let limit = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        self.shared.handler_limit.store(limit.max(1), Ordering::Relaxed);
    }

    /// The time that the handler may take that runs now.
    pub(crate) fn handler_limit(&self) -> Duration {
        match self.shared.handler_limit.load(Ordering::Relaxed) {
            0 => self.node().limits.handler,
            limit => Duration::from_millis(limit.into()),
        }
    }

    /// Forgets the limit of the handler that ran.
    pub(crate) fn reset_handler_limit(&self) {
        self.shared.handler_limit.store(0, Ordering::Relaxed);
    }

    /// In which events about this connection stand: made when something happens, since kept it would cost every idle
    /// player its size.
    pub(crate) fn span(&self) -> tracing::Span {
        tracing::debug_span!("connection", id = %self.id(), peer = ?self.peer())
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.shared.outbox
    }

    /// What the client is asked, and has not answered yet.
    pub(crate) fn questions(&self) -> &Questions {
        &self.shared.questions
    }

    pub(crate) fn syntax(&self) -> Syntax {
        *self.shared.syntax
    }

    pub(crate) fn node(&self) -> &Node {
        self.shared.hub.node()
    }
}

impl<S> Clone for Connection<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<S> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("id", &self.shared.id.0).field("peer", &self.shared.peer).finish()
    }
}
