//! A join, and why there is none.

use std::{fmt, future::IntoFuture, pin::Pin};

use crate::{
    Connection, Error, Occupants, Room, Rooms, Session,
    cluster::Unavailable,
    hub::{
        LONGEST_NAME, LONGEST_PREFIX,
        registry::{Guard, Wish},
    },
};

/// A connection's wish to be in a room, granted or not when it is awaited: made by [`Room::join`].
#[must_use = "a join happens when it is awaited"]
pub struct Join<'j, S = ()> {
    room: Room<'j>,
    connection: &'j Connection<S>,
    wish: Wish<'j>,
}

impl<'j, S: Session> Join<'j, S> {
    pub(super) fn new(room: Room<'j>, connection: &'j Connection<S>) -> Self {
        Self { room, connection, wish: Wish { is_told: false, guard: Box::new(|_| Ok(())) } }
    }

    /// From now on this connection is told who else comes and goes, by the pushes [`Joined`](crate::Joined) and
    /// [`Left`](crate::Left).
    pub fn with_presence(mut self) -> Self {
        self.wish.is_told = true;
        self
    }

    /// May refuse the join, by an error. It looks at who is in the room, which nobody enters or leaves meanwhile: of
    /// two who want the last seat one is refused. It is not asked about a connection that is in the room already.
    ///
    /// ```
    /// # use kengine::{Connection, Error, Hub};
    /// # async fn sit_down(hub: &Hub, connection: &Connection) -> Result<(), Error> {
    /// let seat = hub.room("table").join(connection).guard(|players| match players.len() {
    ///     0..4 => Ok(()),
    ///     _ => Err(Error::new("full", "four play already")),
    /// });
    /// Ok(seat.await?)
    /// # }
    /// ```
    ///
    /// It runs while the room is locked: it must use neither the hub nor the connection, and should be quick.
    pub fn guard(mut self, guard: impl FnOnce(Occupants<'_>) -> Result<(), Error> + Send + 'j) -> Self {
        let guard: Guard<'j> = Box::new(guard);
        self.wish.guard = guard;
        self
    }
}

impl<S> fmt::Debug for Join<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join").field("room", &self.room.name).field("connection", &self.connection).finish()
    }
}

impl<'j, S: Session> IntoFuture for Join<'j, S> {
    type Output = Result<(), JoinError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'j>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Room { hub, name, .. } = &self.room;
            let joined = hub.node.registry.join(name, &self.connection.to_recipient(), self.wish, &hub.node);
            hub.node.relieve();
            joined?;
            hub.node.cluster.subscribed(name).await.map_err(|Unavailable| JoinError::Unavailable)
        })
    }
}

/// A connection's wish to be in a room with a free seat, granted when it is awaited: made by [`Rooms::fill`].
#[must_use = "a seat is taken when it is awaited"]
pub struct Fill<'f, S = ()> {
    rooms: Rooms<'f>,
    seats: usize,
    connection: &'f Connection<S>,
    is_told: bool,
}

impl<'f, S: Session> Fill<'f, S> {
    pub(super) fn new(rooms: Rooms<'f>, seats: usize, connection: &'f Connection<S>) -> Self {
        Self { rooms, seats: seats.max(1), connection, is_told: false }
    }

    /// From now on this connection is told who else comes and goes, as by [`Join::with_presence`].
    pub fn with_presence(mut self) -> Self {
        self.is_told = true;
        self
    }
}

impl<S> fmt::Debug for Fill<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fill")
            .field("rooms", &self.rooms.prefix)
            .field("seats", &self.seats)
            .finish_non_exhaustive()
    }
}

impl<'f, S: Session> IntoFuture for Fill<'f, S> {
    type Output = Result<Room<'f>, JoinError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'f>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Rooms { hub, prefix } = &self.rooms;
            let one = self.connection.to_recipient();
            let name = hub.node.registry.fill(prefix, self.seats, &one, self.is_told, &hub.node)?;
            hub.node.relieve();
            hub.node.cluster.subscribed(&name).await.map_err(|Unavailable| JoinError::Unavailable)?;
            Ok(hub.room(String::from(&*name)))
        })
    }
}

/// Why a connection is not in a room that it was to join.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The room cannot have this name.
    #[error("the name of a room has 1 to {LONGEST_NAME} bytes and no control characters")]
    InvalidName,
    /// Rooms that are to be filled cannot have this beginning: no room is left for what tells them apart.
    #[error("rooms to be filled begin with 1 to {LONGEST_PREFIX} bytes without control characters")]
    InvalidPrefix,
    /// The connection is in as many rooms as it may be.
    #[error("a connection is in at most {0} rooms; leave one first")]
    TooManyRooms(usize),
    /// A [guard](Join::guard) has refused it.
    #[error("{}", .0.message())]
    Refused(#[source] Error),
    /// The cluster cannot be reached: the connection is in the room, but hears only those of its own node until the
    /// cluster is back.
    #[error("other nodes cannot be reached; the connection is in the room of its own node")]
    Unavailable,
    /// The connection has ended.
    #[error("the connection is closed")]
    Closed,
}

impl From<JoinError> for Error {
    /// `bad_request` for what the client asked for, a guard's own error, `unavailable`; `internal` for a connection
    /// that has ended.
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Refused(refused) => refused,
            JoinError::InvalidName | JoinError::TooManyRooms(_) => {
                Self::new("bad_request", error.to_string())
            }
            JoinError::Unavailable => Self::new("unavailable", error.to_string()),
            JoinError::InvalidPrefix => Self::internal(error),
            JoinError::Closed => crate::SendError::Closed.into(),
        }
    }
}
