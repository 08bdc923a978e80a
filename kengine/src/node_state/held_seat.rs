//! A seat between its request and the join.

use std::sync::Arc;

use crate::node_state::cluster_interface::Cluster;
use crate::node_state::memberships::RoomId;
use crate::node_state::seating::{Seat, Vacating};

/// A seat whose connection has not joined the room yet. Dropping this gives the seat up.
pub(crate) struct HeldSeat {
    seat: Seat,
    is_kept: bool,
    cluster: Arc<dyn Cluster>,
}

impl HeldSeat {
    pub(super) fn new(seat: Seat, cluster: &Arc<dyn Cluster>) -> Self {
        Self { seat, is_kept: false, cluster: Arc::clone(cluster) }
    }

    pub(crate) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Returns the seat. It is not given up any more.
    pub(super) fn keep(mut self) -> Seat {
        self.is_kept = true;
        self.seat.clone()
    }

    /// Returns the room as one in which the connection has this seat.
    pub(super) fn membership(&self, room: &Arc<RoomId>) -> Arc<RoomId> {
        match &self.seat.family {
            Some(family) => Arc::new(RoomId { name: Arc::clone(&room.name), family: Some(Arc::clone(family)) }),
            None => Arc::clone(room),
        }
    }
}

impl Drop for HeldSeat {
    fn drop(&mut self) {
        if !self.is_kept {
            self.cluster.vacate(&self.seat, Vacating::Now);
        }
    }
}
