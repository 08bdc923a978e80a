//! A seat that a connection has been granted, until it joins the room.

use std::sync::Arc;
use std::time::Duration;

use crate::node_state::cluster_interface::Cluster;
use crate::node_state::memberships::RoomId;
use crate::node_state::recipient::Recipient;
use crate::node_state::seat::Seat;

/// A seat whose connection has not joined the room yet. Dropping this gives the seat up, or keeps it for the player if
/// the connection was replaced meanwhile.
pub(crate) struct GrantedSeat<'r> {
    seat: Seat,
    is_taken: bool,
    recipient: &'r dyn Recipient,
    seat_timeout: Duration,
    cluster: Arc<dyn Cluster>,
}

impl<'r> GrantedSeat<'r> {
    pub(super) fn new(
        seat: Seat,
        recipient: &'r dyn Recipient,
        seat_timeout: Duration,
        cluster: &Arc<dyn Cluster>,
    ) -> Self {
        Self { seat, is_taken: false, recipient, seat_timeout, cluster: Arc::clone(cluster) }
    }

    pub(crate) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Returns the seat. It is not given up any more.
    pub(super) fn take(mut self) -> Seat {
        self.is_taken = true;
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

impl Drop for GrantedSeat<'_> {
    fn drop(&mut self) {
        if !self.is_taken {
            self.cluster.vacate(&self.seat, self.recipient.state().vacating(self.seat_timeout));
        }
    }
}
