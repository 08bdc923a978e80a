//! The handle to one connection.

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;
use std::{fmt, sync::Arc};

use serde_json::Value;

use crate::handles::hub::Hub;
use crate::node::Node;
use crate::node_state::{
    ConnectionId, ConnectionState, ExtendError, Memberships, Outbox, Questions, Queued, RateLimiter, Recipient,
    SendError, Silence, Who, call_catching,
};
use crate::protocol::resumption::KeyedFrame;
use crate::protocol::{Push, Rate, Session, Syntax, Uid, check_name_is_free, logged, push};
use crate::websocket::Close;

/// The handle to a player's connection. It is cheap to clone and can be used from any task, even after the connection
/// has ended.
///
/// ```
/// use kengine::{Connection, Push};
///
/// #[derive(serde::Serialize, Push)]
/// struct Morning {}
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
///             // The send fails if the player has left meanwhile. This can be ignored.
///             let _ = connection.send(&Morning {});
///         });
///     }
/// }
/// ```
pub struct Connection<S = ()> {
    shared: Arc<SharedConnection<S>>,
}

struct SharedConnection<S> {
    state: ConnectionState,
    session: S,
    hub: Hub,
    /// `None` if the dispatcher is mounted in a router. A `SocketAddr` would take 12 bytes more.
    peer: Option<(IpAddr, u16)>,
    rate_limiter: RateLimiter,
}

impl<S: Session> Recipient for SharedConnection<S> {
    fn state(&self) -> &ConnectionState {
        &self.state
    }

    fn is_guest(&self) -> bool {
        self.session.uid().is_none()
    }

    fn public(&self) -> Value {
        // This is also called when a connection that has ended leaves its rooms. A panic would keep it in them.
        call_catching(|| serde_json::to_value(self.session.public())).map_or(Value::Null, |public| {
            public.unwrap_or_else(|error| {
                tracing::error!(error = logged(&error), "`Session::public` cannot be written as JSON");
                Value::Null
            })
        })
    }
}

impl<S: Session> Connection<S> {
    pub(crate) fn new(node: Arc<Node>, session: S, peer: Option<SocketAddr>, syntax: &'static Syntax) -> Self {
        let named = (node.next_id(), session.uid().unwrap_or_else(Uid::random));
        Self::carried(node, named, session, peer, syntax)
    }

    /// Creates the connection of a session that comes from another node, with this id and the uid that it has there.
    pub(crate) fn carried(
        node: Arc<Node>,
        (id, uid): (ConnectionId, Uid),
        session: S,
        peer: Option<SocketAddr>,
        syntax: &'static Syntax,
    ) -> Self {
        let state = ConnectionState {
            id,
            uid,
            syntax,
            outbox: Outbox::default(),
            memberships: Memberships::default(),
            questions: Questions::default(),
            silence: Silence::default(),
        };
        let peer = peer.map(|peer| (peer.ip(), peer.port()));
        let shared =
            SharedConnection { state, session, hub: Hub::new(node), peer, rate_limiter: RateLimiter::default() };
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
    /// Returns the id of this connection, unique within its node.
    pub fn id(&self) -> ConnectionId {
        self.shared.state.id
    }

    /// Returns the address at the other end of the socket, which may be a proxy's. `None` if the dispatcher is mounted
    /// in a router. The scope and the flow of an IPv6 address are not kept: they are 0.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.shared.peer.map(SocketAddr::from)
    }

    /// Returns the session that `#[accept]` created.
    pub fn session(&self) -> &S {
        &self.shared.session
    }

    /// Returns the player's uid: the session's uid or, for a guest, a random one for this connection.
    pub fn uid(&self) -> &Uid {
        &self.shared.state.uid
    }

    /// Returns the hub, the handle to rooms, users and all other connections.
    pub fn hub(&self) -> &Hub {
        &self.shared.hub
    }

    /// Returns what waits in the connection's outbox because the client has not read it yet.
    pub fn queued(&self) -> Queued {
        self.shared.state.outbox.queued()
    }

    /// Whether the player is away: the connection was cut, and the session waits for the player to
    /// [resume](crate::Server::resume_within) it.
    pub fn is_suspended(&self) -> bool {
        self.shared.state.silence.is_resting()
    }

    /// Sends a push. It is queued in the connection's outbox; this never waits. Pushes arrive in the order in which
    /// they were queued, except that a [`latest`](crate::push::Delivery::Latest) push takes the position of the one
    /// that it replaces.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] if the connection has ended, [`SendError::TooSlow`] if the outbox is full (1,024 pushes or
    /// 256 KiB by default; the connection is then closed with 4002), [`SendError::TooLarge`] if the push alone exceeds
    /// the outbox, [`SendError::Encode`] if it cannot be written as JSON.
    pub fn send<P: Push + ?Sized>(&self, push: &P) -> Result<(), SendError> {
        check_name_is_free::<P>();
        let frame = push::encode(push, *self.shared.state.syntax, None)?;
        self.queue(KeyedFrame::own(frame, push::key_of(push)?))
    }

    /// Closes the connection. Queued pushes are sent first, then the close frame. No further message is handled. If a
    /// handler is still running when the close frame is sent, its request gets no answer. Only the first close counts.
    ///
    /// The connection [ends](macro@crate::close#the-end-of-a-connection) in this call: it leaves its rooms, and its uid
    /// is free. For the presence push `left` this calls [`Session::public`].
    pub fn close(&self, close: impl Into<Close>) {
        self.node().close(&self.shared.state, close.into());
    }

    /// Returns when the session expires: as [`Session::expires`] said, or the time to which it was
    /// [extended](Self::extend). `None` if it never expires, or the connection has ended.
    pub fn expires(&self) -> Option<SystemTime> {
        self.node().expiry(&self.shared.state)
    }

    /// Extends the session, for example when a route has checked a new token of the client. From then on it does not
    /// expire before `until`. A session that expires later anyway, or never, stays as it is. There is no latest time:
    /// one in a million years is as good as never.
    ///
    /// The uid and the session stay what they were, so a route checks that the new token is of the same player:
    ///
    /// ```
    /// use std::time::SystemTime;
    ///
    /// use kengine::{Connection, Error, Session, Uid};
    ///
    /// struct Player {
    ///     id: Uid,
    ///     expires: SystemTime,
    /// }
    ///
    /// impl Session for Player {
    ///     fn uid(&self) -> Option<Uid> {
    ///         Some(self.id.clone())
    ///     }
    ///
    ///     fn expires(&self) -> Option<SystemTime> {
    ///         Some(self.expires)
    ///     }
    /// }
    ///
    /// struct Game;
    ///
    /// #[kengine::dispatcher(session = Player)]
    /// impl Game {
    ///     #[route]
    ///     async fn refresh(&self, connection: &Connection<Player>, token: String) -> Result<(), Error> {
    ///         let renewed = check(&token).ok_or_else(|| Error::new("unauthorized", "the token is not valid"))?;
    ///         if renewed.id != *connection.uid() {
    ///             return Err(Error::new("unauthorized", "the token belongs to another player"));
    ///         }
    ///         Ok(connection.extend(renewed.expires)?)
    ///     }
    /// }
    /// # fn check(_: &str) -> Option<Player> { None }
    /// ```
    ///
    /// The client should ask for this in good time: a connection whose session expires while the handler checks the
    /// token is closed.
    ///
    /// # Errors
    ///
    /// [`ExtendError::Past`] if `until` is not in the future, [`ExtendError::Closed`] if the session has expired or the
    /// connection has ended for another reason. The time is that of [the node's clock](Session::expires).
    pub fn extend(&self, until: SystemTime) -> Result<(), ExtendError> {
        self.node().extend(&self.shared.state, until)
    }

    pub(super) fn queue(&self, frame: KeyedFrame) -> Result<(), SendError> {
        let queued = self.node().fan_out.queue(&self.shared.state.outbox, frame);
        self.node().relieve();
        queued
    }

    /// Counts one message of the route with this index if its rate allows it. Returns whether it does. `read_at` is
    /// when the client's bytes were last read, on the node's clock.
    pub(crate) fn allow(&self, route: usize, rate: Rate, read_at: u64) -> bool {
        self.shared.rate_limiter.allow(route, rate, read_at, || self.node().clock.now())
    }

    /// Whether the client may be told now that it exceeds the rate of the route with this index, or without a route a
    /// limit of the server. It may once a second for each route, and once without a route.
    pub(crate) fn may_tell_limit(&self, route: Option<usize>) -> bool {
        self.shared.rate_limiter.may_tell(route, self.node().clock.now())
    }

    /// Creates the span for this connection's events. It is created on demand because storing it would cost memory per
    /// idle player.
    pub(crate) fn span(&self) -> tracing::Span {
        tracing::debug_span!("connection", id = %self.id(), peer = ?self.peer())
    }

    pub(crate) fn state(&self) -> &ConnectionState {
        &self.shared.state
    }

    pub(crate) fn node(&self) -> &Node {
        self.shared.hub.node()
    }
}

impl<S> From<&Connection<S>> for Who {
    fn from(connection: &Connection<S>) -> Self {
        connection.id().into()
    }
}

impl<S> Clone for Connection<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<S> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("id", &self.id()).field("peer", &self.peer()).finish()
    }
}
