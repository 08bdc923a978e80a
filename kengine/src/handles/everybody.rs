//! The handle to all connections.

use crate::handles::hub::Hub;
use crate::node_state::{Address, Reach, Selection, SendError, Who};
use crate::protocol::{Push, check_name_is_free};

/// All connections of the cluster, from [`Hub::all`].
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it sends"]
pub struct Everybody<'a> {
    hub: &'a Hub,
    selection: Selection,
}

impl Hub {
    /// Returns the handle to all connections of the cluster.
    pub fn all(&self) -> Everybody<'_> {
        Everybody { hub: self, selection: Selection::default() }
    }
}

impl Everybody<'_> {
    /// Restricts the handle to the connections of this node.
    #[must_use = "it returns a restricted handle"]
    pub fn local(mut self) -> Self {
        self.selection.reach = Reach::Node;
        self
    }

    /// Excludes connections and users. Further calls exclude more.
    #[must_use = "it returns a restricted handle"]
    pub fn except(mut self, who: impl Into<Who>) -> Self {
        self.selection.audience.except(who.into());
        self
    }

    /// Restricts the handle to these connections and users. Further calls add more.
    #[must_use = "it returns a restricted handle"]
    pub fn only(mut self, who: impl Into<Who>) -> Self {
        self.selection.audience.only(who.into());
        self
    }

    /// Sends a push, which is encoded once. Returns the number of connections of this node for which it was queued.
    ///
    /// # Errors
    ///
    /// [`SendError::Encode`] if the push cannot be written as JSON, [`SendError::TooLarge`] if no outbox would take it,
    /// [`SendError::Unavailable`] if other nodes cannot be reached.
    pub fn send<P: Push + ?Sized>(&self, push: &P) -> Result<usize, SendError> {
        check_name_is_free::<P>();
        self.hub.node().send(Address::Everybody, &self.selection, push)
    }
}
