//! Joins a room by its name, or any room with a free seat.

use std::{fmt, future::IntoFuture};

use crate::handles::connection::Connection;
use crate::handles::room::{Room, Rooms};
use crate::node_state::{BoxFuture, JoinError, JoinRequest, Occupants, SeatRequest, Unavailable};
use crate::protocol::{Error, Session};

/// A join, returned by [`Room::join`]. It happens when it is awaited.
#[must_use = "a join happens when it is awaited"]
pub struct Join<'j, S = ()> {
    room: Room<'j>,
    connection: &'j Connection<S>,
    request: JoinRequest<'j>,
}

impl<'a> Room<'a> {
    /// Adds a connection to the room when it is awaited. The connection stays until it ends or [`leave`](Self::leave)
    /// removes it.
    pub fn join<'j, S: Session>(&self, connection: &'j Connection<S>) -> Join<'j, S>
    where
        'a: 'j,
    {
        let request = JoinRequest { listens: false, guard: Box::new(|_| Ok(())) };
        Join { room: self.clone(), connection, request }
    }
}

impl<'j, S: Session> Join<'j, S> {
    /// Sends this connection a push [`Joined`](crate::room::Joined) or [`Left`](crate::room::Left) whenever another
    /// user joins or leaves from now on.
    pub fn with_presence(mut self) -> Self {
        self.request.listens = true;
        self
    }

    /// Adds a check that may refuse the join with an error. It sees the users of this node in the room, and no
    /// connection joins or leaves meanwhile: of two players who want the last seat, one is refused. It is not called
    /// for a connection that is already in the room.
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
            let joined = hub.node().rooms.join(name, &self.connection.to_recipient(), self.request);
            hub.node().relieve();
            joined?;
            hub.node().cluster.subscribed(name).await.map_err(|Unavailable| JoinError::Unavailable)
        })
    }
}

/// A join of a room with a free seat, returned by [`Rooms::fill`]. It happens when it is awaited.
#[must_use = "a seat is taken when it is awaited"]
pub struct Fill<'f, S = ()> {
    rooms: Rooms<'f>,
    seats: usize,
    connection: &'f Connection<S>,
    listens: bool,
}

impl<'a> Rooms<'a> {
    /// Seats a connection in the fullest room with fewer than `seats` members, or in a new room if all are full, for
    /// example to fill matches of nine players. A `seats` of 0 counts as 1. This method considers only rooms that it
    /// created on this node with this prefix. Their names are unique in the cluster. A connection that already sits in
    /// one of them stays there.
    ///
    /// When a newer connection [replaces](crate::Duplicates::Replace) one that is seated, the seat is kept on this node:
    /// this method gives the newer one the same room again, even if the player was alone there, and nobody else takes the
    /// seat meanwhile. It is kept until the user sits down, or has no connection to this node any more, or
    /// [`Server::seat_timeout`](crate::Server::seat_timeout) (10 s) has passed.
    ///
    /// A user who may have [several connections](crate::Duplicates::Allow) gets a seat for each of them, but takes only
    /// one seat in a room.
    ///
    /// Only this method enforces the number of seats: a client that may [join](Room::join) rooms of any name can exceed
    /// it. Use another prefix for names that clients choose.
    ///
    /// ```
    /// # use kengine::{Connection, Error, Hub};
    /// # async fn play(hub: &Hub, connection: &Connection) -> Result<(), Error> {
    /// let arena = hub.rooms("arena-").fill(9, connection).await?;
    /// assert!(arena.name().starts_with("arena-"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of a join, and [`JoinError::InvalidPrefix`](crate::room::JoinError::InvalidPrefix) if the prefix is empty,
    /// has more than 27 bytes, or contains a [control character](crate::Uid).
    pub fn fill<'f, S: Session>(&self, seats: usize, connection: &'f Connection<S>) -> Fill<'f, S>
    where
        'a: 'f,
    {
        Fill { rooms: self.clone(), seats: seats.max(1), connection, listens: false }
    }
}

impl<S: Session> Fill<'_, S> {
    /// Sends this connection presence pushes, like [`Join::with_presence`].
    pub fn with_presence(mut self) -> Self {
        self.listens = true;
        self
    }
}

impl<S> fmt::Debug for Fill<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fill").field("rooms", &self.rooms.prefix).field("seats", &self.seats).finish_non_exhaustive()
    }
}

impl<'f, S: Session> IntoFuture for Fill<'f, S> {
    type Output = Result<Room<'f>, JoinError>;
    type IntoFuture = BoxFuture<'f, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Rooms { hub, prefix } = &self.rooms;
            let request = SeatRequest { family: prefix, seats: self.seats, listens: self.listens };
            let seated = hub.node().rooms.seat(&self.connection.to_recipient(), request);
            hub.node().relieve();
            let name = seated?;
            hub.node().cluster.subscribed(&name).await.map_err(|Unavailable| JoinError::Unavailable)?;
            Ok(hub.room(String::from(&*name)))
        })
    }
}
