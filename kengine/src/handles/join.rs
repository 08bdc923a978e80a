//! Joining a room, by its name or by a free seat.

use std::{fmt, future::IntoFuture};

use crate::{
    handles::{
        connection::Connection,
        room::{Room, Rooms},
    },
    language::{error::Error, session::Session},
    local::{
        cluster_interface::{BoxFuture, Unavailable},
        join_error::JoinError,
        room::Occupants,
        rooms::{JoinRequest, SeatRequest},
    },
};

/// A join, made by [`Room::join`]. It happens when it is awaited.
#[must_use = "a join happens when it is awaited"]
pub struct Join<'j, S = ()> {
    room: Room<'j>,
    connection: &'j Connection<S>,
    request: JoinRequest<'j>,
}

impl<'j, S: Session> Join<'j, S> {
    pub(super) fn new(room: Room<'j>, connection: &'j Connection<S>) -> Self {
        Self { room, connection, request: JoinRequest { listens: false, guard: Box::new(|_| Ok(())) } }
    }

    /// Sends this connection a push [`Joined`](crate::room::Joined) or [`Left`](crate::room::Left) whenever another user
    /// joins or leaves from now on.
    pub fn with_presence(mut self) -> Self {
        self.request.listens = true;
        self
    }

    /// Adds a check that may refuse the join with an error. It sees the connections of this node in the room, and no
    /// connection joins or leaves meanwhile: of two players who want the last seat, one is refused. It is not called for a
    /// connection that is already in the room.
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
    /// It runs while the room is locked, so it must be quick and must use neither the hub nor the connection.
    pub fn guard(mut self, guard: impl FnOnce(Occupants<'_>) -> Result<(), Error> + Send + 'j) -> Self {
        self.request.guard = Box::new(guard);
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
    type IntoFuture = BoxFuture<'j, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Room { hub, name, .. } = &self.room;
            let joined = hub.node().rooms().join(name, &self.connection.to_recipient(), self.request);
            hub.node().relieve();
            joined?;
            hub.node().cluster().subscribed(name).await.map_err(|Unavailable| JoinError::Unavailable)
        })
    }
}

/// A join of a room with a free seat, made by [`Rooms::fill`]. It happens when it is awaited.
#[must_use = "a seat is taken when it is awaited"]
pub struct Fill<'f, S = ()> {
    rooms: Rooms<'f>,
    seats: usize,
    connection: &'f Connection<S>,
    listens: bool,
}

impl<'f, S: Session> Fill<'f, S> {
    pub(super) fn new(rooms: Rooms<'f>, seats: usize, connection: &'f Connection<S>) -> Self {
        Self { rooms, seats: seats.max(1), connection, listens: false }
    }

    /// Sends this connection presence pushes, like [`Join::with_presence`].
    pub fn with_presence(mut self) -> Self {
        self.listens = true;
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
    type IntoFuture = BoxFuture<'f, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Rooms { hub, prefix } = &self.rooms;
            let request = SeatRequest { family: prefix, seats: self.seats, listens: self.listens };
            let seated = hub.node().rooms().seat(&self.connection.to_recipient(), request);
            hub.node().relieve();
            let name = seated?;
            hub.node().cluster().subscribed(&name).await.map_err(|Unavailable| JoinError::Unavailable)?;
            Ok(hub.room(String::from(&*name)))
        })
    }
}
