//! One room, and the rooms whose names have a common prefix.

use std::borrow::Cow;
use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;

use serde::Serialize;

use crate::handles::connection::Connection;
use crate::handles::hub::Hub;
use crate::node_state::{
    Address, BoxFuture, ListError, MAX_SCANNED_ROOMS, Members, Reach, RoomPage, RoomQuery, RoomSummary, Selection,
    SendError, SetPublicError, Unavailable, Who,
};
use crate::protocol::{Push, Session, check_name_is_free};

/// The number of rooms on a page by default.
const DEFAULT_PAGE: usize = 100;
/// The number of queries for one page.
const MAX_QUERIES: usize = 8;

/// A room, from [`Hub::room`].
#[derive(Clone, Debug)]
pub struct Room<'a> {
    pub(super) hub: &'a Hub,
    pub(super) name: Cow<'a, str>,
    selection: Selection,
    host: Option<Arc<str>>,
}

impl Hub {
    /// Returns the room with this name: 1 to 64 bytes without [control characters](crate::Uid). A room exists from its
    /// first member's join until its last member leaves.
    pub fn room<'a>(&'a self, name: impl Into<Cow<'a, str>>) -> Room<'a> {
        Room { hub: self, name: name.into(), selection: Selection::default(), host: None }
    }

    /// Returns the rooms whose names begin with a prefix. The prefix `""` selects all rooms.
    pub fn rooms<'a>(&'a self, prefix: impl Into<Cow<'a, str>>) -> Rooms<'a> {
        Rooms { hub: self, prefix: prefix.into() }
    }
}

impl<S> Connection<S> {
    /// Returns the rooms that the connection is in. While [`#[close]`](macro@crate::close) runs, these are the rooms
    /// that it has left at its end, and afterwards none.
    ///
    /// ```
    /// # use kengine::{Connection, Error, Push};
    /// # fn broadcast<P: Push>(connection: &Connection, push: &P) -> Result<(), Error> {
    /// for room in connection.rooms() {
    ///     room.except(connection).send(push)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn rooms(&self) -> Vec<Room<'_>> {
        let names = self.state().memberships.names();
        names.iter().map(|name| self.hub().room(String::from(&**name))).collect()
    }
}

impl Room<'_> {
    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the address of the node that hosts the room, if [`fill`](Rooms::fill) has seated the connection in a
    /// room of another node. The player can play from here, but each message between the two nodes goes through Redis.
    /// A client that connects again through the gateway with the name of the room gets to that node, and keeps its
    /// seat.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    pub(super) fn hosted_by(self, host: Option<Arc<str>>) -> Self {
        Self { host, ..self }
    }

    /// Restricts the handle to the members on this node.
    #[must_use = "it returns a restricted handle"]
    pub fn local(mut self) -> Self {
        self.selection.reach = Reach::Node;
        self
    }

    /// Excludes connections and users from sends. Further calls exclude more.
    #[must_use = "it returns a restricted handle"]
    pub fn except(mut self, who: impl Into<Who>) -> Self {
        self.selection.audience.except(who.into());
        self
    }

    /// Restricts sends to the members among these connections and users. Further calls add more.
    #[must_use = "it returns a restricted handle"]
    pub fn only(mut self, who: impl Into<Who>) -> Self {
        self.selection.audience.only(who.into());
        self
    }

    /// Whether a connection is in the room.
    pub fn contains<S: Session>(&self, connection: &Connection<S>) -> bool {
        connection.state().memberships.contains(&self.name)
    }

    /// Removes a connection from the room. Returns whether it was a member. Players of other nodes can take its seat
    /// as soon as Redis knows that it is free, usually a few milliseconds later.
    pub fn leave<S: Session>(&self, connection: &Connection<S>) -> bool {
        let node = self.hub.node();
        let was_member = node.rooms.leave(&self.name, connection.as_recipient());
        node.relieve();
        was_member
    }

    /// Sets what the room shows in the [list](Rooms::list) of the cluster's rooms, for example the name of the map. The
    /// last value counts, whichever node sets it, until the last member of the room leaves. It is at most 100 ms later
    /// in the list; while Redis is away it waits. If Redis loses its data, the list shows the last value of one of the
    /// nodes that have set one and have members, perhaps an older one.
    ///
    /// ```
    /// # use kengine::{Error, Hub};
    /// #[derive(serde::Serialize)]
    /// struct Table {
    ///     stake: u32,
    /// }
    ///
    /// # fn show(hub: &Hub) -> Result<(), Error> {
    /// hub.room("table-1").set_public(&Table { stake: 5 })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Everybody to whom the game sends the list sees it. From then on, the number of the room's members is reported to
    /// Redis as it changes, at most 40 times a second.
    ///
    /// # Errors
    ///
    /// [`SetPublicError::NoMembers`] if the room has no member on this node, [`SetPublicError::TooLarge`] if the value
    /// has more than [1 KiB](crate::Server::max_room_data_size) as JSON, [`SetPublicError::Encode`] if it cannot be
    /// written as JSON.
    pub fn set_public<T: Serialize + ?Sized>(&self, public: &T) -> Result<(), SetPublicError> {
        let json = serde_json::to_string(public)?;
        let node = self.hub.node();
        if json.len() > node.limits.max_room_data_size {
            return Err(SetPublicError::TooLarge(json.len()));
        }
        let is_set = node.rooms.set_public(&self.name, &json.into());
        if is_set { Ok(()) } else { Err(SetPublicError::NoMembers) }
    }

    /// Returns the members, each user once, with what their sessions show to other players. The answer to a client
    /// should contain only some of them at a time, because a room may have any number.
    pub async fn members(&self) -> Members {
        let node = self.hub.node();
        let mut members = node.rooms.members(&self.name);
        let mut is_partial = false;
        if self.selection.reach == Reach::Cluster && node.cluster.reaches(Address::Room(&self.name)) {
            let gathered = node.cluster.members(&self.name).await;
            members.extend(gathered.members);
            is_partial = gathered.is_partial;
        }
        Members::new(members, is_partial)
    }

    /// Sends a push to the members. It is encoded once and queued in their outboxes; this never waits. Returns the
    /// number of connections of this node for which it was queued.
    ///
    /// # Errors
    ///
    /// [`SendError::Encode`] if the push cannot be written as JSON, [`SendError::TooLarge`] if no outbox would take it,
    /// [`SendError::Unavailable`] if members on other nodes cannot be reached; the members on this node still get the
    /// push. A member who is too slow or has left is not an error.
    pub fn send<P: Push + ?Sized>(&self, push: &P) -> Result<usize, SendError> {
        check_name_is_free::<P>();
        self.hub.node().send(Address::Room(&self.name), &self.selection, push)
    }
}

/// The rooms whose names have a common prefix, from [`Hub::rooms`].
#[derive(Clone, Debug)]
#[must_use = "it does nothing until a method is called"]
pub struct Rooms<'a> {
    pub(super) hub: &'a Hub,
    pub(super) prefix: Cow<'a, str>,
}

impl<'a> Rooms<'a> {
    /// Lists the rooms of the cluster that have [seats](crate::room::Join::seats) or [show data](Room::set_public),
    /// page by page, when it is awaited. A room that has neither is in no list, because nobody outside its nodes knows
    /// of it; see [`local_list`](Self::local_list).
    ///
    /// ```
    /// # use kengine::{Error, Hub, room::RoomPage};
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Table {
    ///     stake: u32,
    /// }
    ///
    /// async fn tables(hub: &Hub, after: String) -> Result<RoomPage, Error> {
    ///     let affordable = |table: Table| table.stake <= 10;
    ///     let page = hub.rooms("table-").list().after(after).max(20).with_free_seats();
    ///     Ok(page.filter(|room| room.public().is_ok_and(affordable)).await?)
    /// }
    /// ```
    ///
    /// A change is in the list 100 ms later at most, and what a node that was killed has left is gone when its lease
    /// has expired. Rooms that exist all the time are listed once, in the order of their names; in Redis, where each
    /// page is one script, with all characters but letters, digits and `-._~` percent-encoded.
    pub fn list(&self) -> List<'a> {
        List { rooms: self.clone(), after: String::new(), max: DEFAULT_PAGE, with_free_seats: false, filter: None }
    }

    /// Returns the rooms of this node, sorted by name, with the number of their connections on this node. There may be
    /// as many as [`Server::max_rooms`](crate::Server::max_rooms), so send a client a [`local_page`](Self::local_page)
    /// instead.
    pub fn local_list(&self) -> Vec<RoomCount> {
        self.local_page("", usize::MAX)
    }

    /// Returns the first `max` rooms of [`local_list`](Self::local_list) whose names come after `after`. The first page
    /// begins after `""`, the next one after the last name of the first page, and so on until a page has fewer than
    /// `max` rooms.
    ///
    /// ```
    /// # use kengine::{Hub, room::RoomCount};
    /// fn rooms(hub: &Hub, after: &str) -> Vec<RoomCount> {
    ///     hub.rooms("table ").local_page(after, 100)
    /// }
    /// ```
    ///
    /// It looks at every room of the node, so limit how often a client may ask, for example with the `rate` of a
    /// [route](macro@crate::route#limits).
    pub fn local_page(&self, after: &str, max: usize) -> Vec<RoomCount> {
        let rooms = self.hub.node().rooms.list(&self.prefix, after, max).into_iter();
        rooms.map(|(name, members)| RoomCount { name: name.to_string(), members }).collect()
    }
}

/// A page of the rooms of the cluster, returned by [`Rooms::list`]. It is looked up when it is awaited.
#[must_use = "rooms are listed when it is awaited"]
pub struct List<'l> {
    rooms: Rooms<'l>,
    after: String,
    max: usize,
    with_free_seats: bool,
    filter: Option<Filter<'l>>,
}

type Filter<'l> = Box<dyn Fn(&RoomSummary) -> bool + Send + Sync + 'l>;

impl<'l> List<'l> {
    /// Begins the page after a room: [`RoomPage::next`] of the page before. The first page begins after `""`.
    pub fn after(mut self, room: impl Into<String>) -> Self {
        self.after = room.into();
        self
    }

    /// Sets the maximum number of rooms on the page, 1 to 500. The default is 100.
    pub fn max(mut self, rooms: usize) -> Self {
        self.max = rooms.clamp(1, MAX_SCANNED_ROOMS);
        self
    }

    /// Lists only rooms with a free seat. At most 4,000 rooms are looked at for one page.
    pub fn with_free_seats(mut self) -> Self {
        self.with_free_seats = true;
        self
    }

    /// Lists only rooms for which this returns true. It runs on this node, for at most eight times as many rooms as the
    /// page may have, so a page may have fewer rooms than its maximum, or none, although there is a next one.
    pub fn filter(mut self, filter: impl Fn(&RoomSummary) -> bool + Send + Sync + 'l) -> Self {
        self.filter = Some(Box::new(filter));
        self
    }
}

impl fmt::Debug for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List")
            .field("rooms", &self.rooms.prefix)
            .field("after", &self.after)
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

impl<'l> IntoFuture for List<'l> {
    type Output = Result<RoomPage, ListError>;
    type IntoFuture = BoxFuture<'l, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Rooms { hub, prefix } = self.rooms;
            let mut page = RoomPage { next: Some(self.after), ..RoomPage::default() };
            for _ in 0..MAX_QUERIES {
                let Some(after) = page.next.take() else { break };
                let max = self.max - page.rooms.len();
                let query = RoomQuery { prefix: &prefix, after: &after, max, with_free_seats: self.with_free_seats };
                let found = hub.node().cluster.list(query).await.map_err(|Unavailable| ListError)?;
                let is_wanted = |room: &RoomSummary| self.filter.as_ref().is_none_or(|filter| filter(room));
                page.rooms.extend(found.rooms.into_iter().filter(is_wanted));
                page.next = found.next;
                if page.rooms.len() == self.max {
                    break;
                }
            }
            Ok(page)
        })
    }
}

/// An entry of [`Rooms::local_list`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RoomCount {
    /// The name of the room.
    pub name: String,
    /// The number of connections of this node in the room.
    pub members: usize,
}
