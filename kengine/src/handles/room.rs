//! One room, and the rooms whose names have a common prefix.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;

use crate::handles::connection::Connection;
use crate::handles::hub::Hub;
use crate::node_state::{Address, Members, Reach, Selection, SendError, Who};
use crate::protocol::{Push, Session, check_name_is_free};

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
    /// Returns the rooms that the connection is in. While [`#[close]`](macro@crate::close) runs, these are the rooms that
    /// it has left at its end, and afterwards none.
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

    /// Returns the address of the node that hosts the room, if [`fill`](Rooms::fill) has seated the connection in a room
    /// of another node. The player can play from here, but each message between the two nodes goes through Redis. A client
    /// that connects again through the gateway with [the name of the room](crate::guide::gateway) gets to that node, and
    /// keeps its seat.
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

    /// Removes a connection from the room. Returns whether it was a member.
    pub fn leave<S: Session>(&self, connection: &Connection<S>) -> bool {
        let node = self.hub.node();
        let was_member = node.rooms.leave(&self.name, connection.as_recipient());
        node.relieve();
        was_member
    }

    /// Returns the members, each user once, with what their sessions show to other players. The answer to a client should
    /// contain only some of them at a time, because a room may have any number.
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

impl Rooms<'_> {
    /// Returns the rooms of this node, sorted by name, with the number of their connections on this node. There may be
    /// as many as [`Server::max_rooms`](crate::Server::max_rooms), so send a client a [`page`](Self::page) instead.
    pub fn list(&self) -> Vec<RoomCount> {
        self.page("", usize::MAX)
    }

    /// Returns the first `max` rooms of [`list`](Self::list) whose names come after `after`. The first page begins after
    /// `""`, the next one after the last name of the first page, and so on until a page has fewer than `max` rooms.
    ///
    /// ```
    /// # use kengine::{Hub, room::RoomCount};
    /// fn rooms(hub: &Hub, after: &str) -> Vec<RoomCount> {
    ///     hub.rooms("table ").page(after, 100)
    /// }
    /// ```
    ///
    /// It looks at every room of the node, so limit how often a client may ask, for example with the `rate` of a
    /// [route](macro@crate::route#limits).
    pub fn page(&self, after: &str, max: usize) -> Vec<RoomCount> {
        let rooms = self.hub.node().rooms.list(&self.prefix, after, max).into_iter();
        rooms.map(|(name, members)| RoomCount { name: name.to_string(), members }).collect()
    }
}

/// An entry of [`Rooms::list`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RoomCount {
    /// The name of the room.
    pub name: String,
    /// The number of connections of this node in the room.
    pub members: usize,
}
