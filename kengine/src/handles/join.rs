//! Joins a room by its name, or any room with a free seat.

use std::{borrow::Cow, fmt, future::IntoFuture, sync::Arc};

use crate::handles::connection::Connection;
use crate::handles::hub::Hub;
use crate::handles::room::{Room, Rooms};
use crate::node_state::{
    BoxFuture, JoinError, JoinRequest, Occupants, Seat, SeatPlace, SeatWish, Seated, Unavailable, WhenAway,
};
use crate::protocol::{Error, Session};

/// A join, returned by [`Room::join`]. It happens when it is awaited.
#[must_use = "a join happens when it is awaited"]
pub struct Join<'j, S = ()> {
    room: Room<'j>,
    connection: &'j Connection<S>,
    request: JoinRequest<'j>,
    /// The number of seats of the room, if the connection wants one of them.
    seats: Option<usize>,
    when_away: WhenAway,
}

impl<'a> Room<'a> {
    /// Adds a connection to the room when it is awaited. The connection stays until it ends or [`leave`](Self::leave)
    /// removes it.
    pub fn join<'j, S: Session>(&self, connection: &'j Connection<S>) -> Join<'j, S>
    where
        'a: 'j,
    {
        let request = JoinRequest { listens: false, guard: Box::new(|_| Ok(())), seat: None };
        Join { room: self.clone(), connection, request, seats: None, when_away: WhenAway::default() }
    }
}

impl<'j, S: Session> Join<'j, S> {
    /// Sends this connection a push [`Joined`](crate::room::Joined) or [`Left`](crate::room::Left) whenever another
    /// user joins or leaves from now on.
    pub fn with_presence(mut self) -> Self {
        self.request.listens = true;
        self
    }

    /// Takes one of the seats of the room, or fails with [`JoinError::Full`] if all of them are taken. This holds for
    /// the whole cluster: of players of several nodes who want the last seat, one gets it. A `seats` of 0 counts as 1.
    ///
    /// ```
    /// # use kengine::{Connection, Error, Hub};
    /// # async fn sit_down(hub: &Hub, connection: &Connection) -> Result<(), Error> {
    /// Ok(hub.room("table").join(connection).seats(4).await?)
    /// # }
    /// ```
    ///
    /// Seats belong to players, so connections of one uid share a seat, and a join without `seats` takes none. A seat
    /// is free as soon as its player leaves the room or the connection ends; if a newer connection of the player has
    /// [replaced](crate::Duplicates::Replace) it, the seat is kept for the newer one, on whichever node, for
    /// [`Server::seat_timeout`](crate::Server::seat_timeout) (10 s). The seats of a node that is killed are free when
    /// its lease has expired.
    ///
    /// In a cluster in Redis this is one script, sent together with others that wait. While Redis is away the join
    /// fails with [`JoinError::SeatsUnknown`], unless [`when_away`](Self::when_away) says otherwise.
    pub fn seats(mut self, seats: usize) -> Self {
        self.seats = Some(seats.max(1));
        self
    }

    /// Sets what happens to [`seats`](Self::seats) while the cluster cannot be reached.
    pub fn when_away(mut self, when_away: WhenAway) -> Self {
        self.when_away = when_away;
        self
    }

    /// Adds a check that may refuse the join with an error. It sees the users of this node in the room, and no
    /// connection joins or leaves meanwhile. It is not called for a connection that is already in the room. For a limit
    /// that holds for the whole cluster, use [`seats`](Self::seats).
    ///
    /// ```
    /// # use kengine::{Connection, Error, Hub};
    /// # async fn enter(hub: &Hub, connection: &Connection) -> Result<(), Error> {
    /// let join = hub.room("stage").join(connection).guard(|inside| match inside.len() {
    ///     0..500 => Ok(()),
    ///     _ => Err(Error::new("crowded", "this node shows the stage to enough people")),
    /// });
    /// Ok(join.await?)
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
            if let Some(seats) = self.seats {
                let wish = SeatWish { place: SeatPlace::Room { name, family: None }, seats, when_away: self.when_away };
                sit_down(hub, self.connection, wish, self.request).await?;
                reach_others(hub, name, self.when_away).await
            } else {
                enter(hub, self.connection, name, self.request)?;
                reach_others(hub, name, WhenAway::Refuse).await
            }
        })
    }
}

/// A join of a room with a free seat, returned by [`Rooms::fill`]. It happens when it is awaited.
#[must_use = "a seat is taken when it is awaited"]
pub struct Fill<'f, S = ()> {
    rooms: Rooms<'f>,
    /// The room, if any other one will not do.
    room: Option<Cow<'f, str>>,
    seats: usize,
    connection: &'f Connection<S>,
    listens: bool,
    when_away: WhenAway,
}

impl<'a> Rooms<'a> {
    /// Seats a connection in a room with this prefix that has fewer than `seats` players, or in a new one if all are
    /// full, for example to fill matches of nine players. A `seats` of 0 counts as 1. This holds for the whole cluster,
    /// like
    /// [`Join::seats`]: no room that this method fills gets more players than seats.
    ///
    /// A player who has a seat in such a room keeps it. So does one who comes back on a newer connection, even if
    /// nobody else was in the room; see [`Server::seat_timeout`](crate::Server::seat_timeout). Otherwise the fullest
    /// room comes first, and rooms of this node come before those of others. A room is of the node that opened it, and
    /// [`Room::host`] says which one that is if it is another one. Only rooms that this method opened count, and those
    /// of [`Fill::in_room`]. Their names are unique in the cluster. A connection that [joins](Room::join) such a room
    /// by its name without [`seats`](Join::seats) takes no seat.
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
        let (rooms, seats, when_away) = (self.clone(), seats.max(1), WhenAway::default());
        Fill { rooms, room: None, seats, connection, listens: false, when_away }
    }
}

impl<'f, S: Session> Fill<'f, S> {
    /// Sends this connection presence pushes, like [`Join::with_presence`].
    pub fn with_presence(mut self) -> Self {
        self.listens = true;
        self
    }

    /// Takes the seat in the room of this name, and in no other one: for a player who knows the room to come back to.
    /// The room gets newcomers like the others that [`fill`](Rooms::fill) seats players in, also if all its players had
    /// gone and this one is the first to come back. [`Join::seats`] does not make a room one of these.
    ///
    /// ```
    /// # use kengine::{Connection, Error, Hub};
    /// # async fn play(hub: &Hub, connection: &Connection, arena: String) -> Result<(), Error> {
    /// hub.rooms("arena-").fill(9, connection).in_room(arena).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The join fails with [`JoinError::Full`] if all seats are taken, and with
    /// [`JoinError::WrongPrefix`](crate::room::JoinError::WrongPrefix) if the name does not begin with the prefix. If
    /// no such room exists, it is opened, so a client that chooses the name opens rooms with names of its choice.
    pub fn in_room(mut self, name: impl Into<Cow<'f, str>>) -> Self {
        self.room = Some(name.into());
        self
    }

    /// Sets what happens while the cluster cannot be reached, like [`Join::when_away`].
    pub fn when_away(mut self, when_away: WhenAway) -> Self {
        self.when_away = when_away;
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
            let place = match &self.room {
                Some(name) => SeatPlace::Room { name, family: Some(prefix) },
                None => SeatPlace::Family(prefix),
            };
            let wish = SeatWish { place, seats: self.seats, when_away: self.when_away };
            let request = JoinRequest { listens: self.listens, guard: Box::new(|_| Ok(())), seat: None };
            let (name, host) = sit_down(hub, self.connection, wish, request).await?;
            reach_others(hub, &name, self.when_away).await?;
            Ok(hub.room(String::from(&*name)).hosted_by(host))
        })
    }
}

/// Takes a seat, and joins the room. Returns the name of the room, and the address of the node that hosts it if that is
/// another one.
async fn sit_down<'c, S: Session>(
    hub: &Hub,
    connection: &'c Connection<S>,
    wish: SeatWish<'_>,
    mut request: JoinRequest<'c>,
) -> Result<(Arc<str>, Option<Arc<str>>), JoinError> {
    let (rooms, recipient) = (&hub.node().rooms, connection.as_recipient());
    match rooms.take_seat(recipient, wish).await? {
        Seated::Already(Seat { room, host, .. }) => {
            if request.listens {
                rooms.listen(&room, recipient);
            }
            Ok((room, host))
        }
        Seated::Now(granted) => {
            let (name, host) = (Arc::clone(&granted.seat().room), granted.seat().host.clone());
            request.seat = Some(granted);
            enter(hub, connection, &name, request)?;
            Ok((name, host))
        }
    }
}

/// Joins the room.
fn enter<S: Session>(
    hub: &Hub,
    connection: &Connection<S>,
    name: &str,
    request: JoinRequest<'_>,
) -> Result<(), JoinError> {
    let joined = hub.node().rooms.join(name, &connection.to_recipient(), request);
    hub.node().relieve();
    joined
}

/// Waits until the messages of other nodes to the room reach this node. A game that plays on without the cluster does
/// not fail if they cannot.
async fn reach_others(hub: &Hub, name: &str, when_away: WhenAway) -> Result<(), JoinError> {
    match hub.node().cluster.subscribed(name).await {
        Err(Unavailable) if when_away == WhenAway::Refuse => Err(JoinError::Unavailable),
        _ => Ok(()),
    }
}
