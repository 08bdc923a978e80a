//! The handle to one user.

use std::borrow::Cow;

use crate::handles::hub::Hub;
use crate::node_state::{Address, Reach, Selection, SendError};
use crate::protocol::{Push, check_name_is_free};
use crate::websocket::Close;

/// The connections of one user, from [`Hub::user`].
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it sends or kicks"]
pub struct User<'a> {
    hub: &'a Hub,
    uid: Cow<'a, str>,
    selection: Selection,
}

impl Hub {
    /// Returns the user with this uid, given as a [`Uid`](crate::Uid) or a text.
    pub fn user<'a>(&'a self, uid: impl Into<Cow<'a, str>>) -> User<'a> {
        User { hub: self, uid: uid.into(), selection: Selection::default() }
    }
}

impl User<'_> {
    /// Restricts the handle to the connections of this node.
    #[must_use = "it returns a restricted handle"]
    pub fn local(mut self) -> Self {
        self.selection.reach = Reach::Node;
        self
    }

    /// Sends a push to the user's connections, on all nodes. Returns the number of connections of this node for which
    /// it was queued. It may miss a user who came to another node less than [100 ms](crate::guide::nodes#no-guarantees)
    /// ago.
    ///
    /// # Errors
    ///
    /// [`SendError::Encode`] if the push cannot be written as JSON, [`SendError::TooLarge`] if no outbox would take it,
    /// [`SendError::Unavailable`] if other nodes cannot be reached.
    pub fn send<P: Push + ?Sized>(&self, push: &P) -> Result<usize, SendError> {
        check_name_is_free::<P>();
        self.hub.node().send(Address::User(&self.uid), &self.selection, push)
    }

    /// Closes the user's connections with a code and a reason, like [`Connection::close`](crate::Connection::close), on
    /// all nodes. Returns how many connections of this node were closed; they have left their rooms already. Every
    /// other node is told, and closes the connection that the user has there at that moment, however new it is. A seat
    /// that is [kept](crate::Server::seat_timeout) for the user is free, unless the connection for which it is kept was
    /// replaced while it asked for the seat and gets it just after the kick. Clients do not reconnect after codes
    /// from 4500.
    ///
    /// ```
    /// use kengine::{Close, CloseCode, Hub};
    /// # fn ban(hub: &Hub) {
    /// hub.user("1001").kick(Close::new(CloseCode::KICKED, "be nice"));
    /// # }
    /// ```
    pub fn kick(&self, close: impl Into<Close>) -> usize {
        self.hub.node().kick(&self.uid, close.into(), self.selection.reach)
    }

    /// Whether the user has a connection on this node. `#[close]` asks this to know whether the user has come back
    /// already, because the connection that has ended does not count.
    ///
    /// ```
    /// use kengine::{Connection, Hub, Uid};
    /// use std::{collections::HashMap, sync::Mutex};
    ///
    /// struct Game {
    ///     scores: Mutex<HashMap<Uid, u32>>,
    /// }
    ///
    /// #[kengine::dispatcher(session = Uid)]
    /// impl Game {
    ///     #[route]
    ///     async fn ping(&self) {}
    ///
    ///     #[close]
    ///     async fn forget(&self, hub: &Hub, uid: &Uid) {
    ///         if !hub.user(uid.as_str()).is_here() {
    ///             self.scores.lock().unwrap().remove(uid);
    ///         }
    ///     }
    /// }
    /// ```
    pub fn is_here(&self) -> bool {
        self.connections() > 0
    }

    /// Returns how many connections of this node the user has.
    pub fn connections(&self) -> usize {
        self.hub.node().connections_of(&self.uid)
    }
}
