//! Tells the cluster what its list of rooms shows of this node's rooms.

use std::sync::Arc;

use crate::node_state::cluster_interface::{Address, NodeMessage};
use crate::node_state::rooms::LocalRooms;

impl LocalRooms {
    /// Sets what a room shows in lists, as JSON. Returns whether the room has a member on this node.
    pub(crate) fn set_public(&self, name: &str, public: &Arc<str>) -> bool {
        let Some(room) = self.find(name) else { return false };
        let mut state = room.state.write();
        if state.len() == 0 {
            return false;
        }
        let was_listed = std::mem::replace(&mut state.is_listed, true);
        state.public = Some(Arc::clone(public));
        // The room is still locked, so what is set last is shown.
        self.cluster.set_public(name, public);
        drop(state);
        self.report_listed(name, was_listed);
        true
    }

    /// Reports the members of a room that is listed. If it was not listed before, the other nodes must report theirs
    /// too.
    pub(super) fn report_listed(&self, name: &str, was_listed: bool) {
        self.cluster.report(name);
        if !was_listed && self.cluster.reaches(Address::Room(name)) {
            // If the bus cannot be reached, they are told when they are on it again.
            let _ = self.cluster.publish(Address::Room(name), NodeMessage::Listed);
        }
    }

    /// Records that a room is listed, because another node has said so.
    pub(crate) fn set_listed(&self, name: &str) {
        if let Some(room) = self.find(name) {
            room.state.write().is_listed = true;
            self.cluster.report(name);
        }
    }

    /// Returns the number of members of a room, and what this node lets it show in lists.
    pub(crate) fn listing(&self, name: &str) -> (usize, Option<Arc<str>>) {
        self.find(name).map_or((0, None), |room| {
            let state = room.state.read();
            (state.len(), state.public.clone())
        })
    }

    pub(crate) fn is_listed(&self, name: &str) -> bool {
        self.find(name).is_some_and(|room| room.state.read().is_listed)
    }
}
