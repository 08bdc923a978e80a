//! The rooms of a session that moves to another node, or comes from one. Nobody is told that the user has left or
//! joined.

use std::sync::Arc;

use crate::node_state::cluster_interface::{Address, NodeMessage};
use crate::node_state::errors::JoinError;
use crate::node_state::granted_seat::GrantedSeat;
use crate::node_state::hand_over::{CarriedRoom, CarriedSeat};
use crate::node_state::member::{Member, Presence};
use crate::node_state::recipient::Recipient;
use crate::node_state::rooms::LocalRooms;
use crate::node_state::seat::{SeatRefusal, SeatRequest, Vacating, Wanted, WhenAway};
use crate::node_state::sync::atomic::Ordering;

impl LocalRooms {
    /// Returns the rooms that a connection is in, to be carried to another node.
    pub(crate) fn carried(&self, recipient: &dyn Recipient) -> Vec<CarriedRoom> {
        let id = recipient.state().id;
        let names = recipient.state().memberships.names().into_iter();
        let carried = names.filter_map(|name| {
            let room = self.find(&name)?;
            let state = room.state.read();
            let seat = state
                .seat_of(id)
                .map(|seat| CarriedSeat { family: seat.family.as_deref().map(str::to_owned), seats: seat.seats });
            Some(CarriedRoom { name: (*name).to_owned(), listens: state.listens(id), is_listed: state.is_listed, seat })
        });
        carried.collect()
    }

    /// Takes the seat that a connection has on another node, in the same room, for the same user. Returns `None` if it
    /// has none.
    pub(crate) async fn take_carried_seat<'r>(
        &self,
        carried: &CarriedRoom,
        recipient: &'r dyn Recipient,
    ) -> Result<Option<GrantedSeat<'r>>, JoinError> {
        let Some(CarriedSeat { family, seats }) = &carried.seat else { return Ok(None) };
        let request = SeatRequest {
            wanted: Wanted::Room { name: carried.name.as_str().into(), family: family.as_deref().map(Arc::from) },
            seats: *seats,
            uid: recipient.state().uid.clone(),
            number: self.next_seat.fetch_add(1, Ordering::Relaxed),
            when_away: WhenAway::Refuse,
        };
        match self.cluster.take_seat(request).await {
            Ok(seat) => Ok(Some(GrantedSeat::new(seat, recipient, self.seat_timeout, &self.cluster))),
            Err(SeatRefusal::Full) => Err(JoinError::Full(*seats)),
            Err(SeatRefusal::Unavailable) => Err(JoinError::SeatsUnknown),
        }
    }

    /// Adds a connection to the rooms that it was in on another node. The gate is closed.
    ///
    /// # Errors
    ///
    /// The node has too many rooms. The connection is in none.
    pub(crate) fn carry_in(
        &self,
        recipient: &Arc<dyn Recipient>,
        rooms: Vec<(CarriedRoom, Option<GrantedSeat<'_>>)>,
    ) -> Result<(), JoinError> {
        for (carried, seat) in rooms {
            if let Err(error) = self.carry_into(recipient, &carried, seat) {
                self.carry_out(&**recipient);
                return Err(error);
            }
        }
        Ok(())
    }

    fn carry_into(
        &self,
        recipient: &Arc<dyn Recipient>,
        carried: &CarriedRoom,
        seat: Option<GrantedSeat<'_>>,
    ) -> Result<(), JoinError> {
        let mut joined = recipient.state().memberships.lock();
        loop {
            let room = self.find_or_create(&carried.name, &**recipient)?;
            let _announcing = room.announcing.lock();
            let mut state = room.state.write();
            if state.has_ended {
                drop(state);
                self.remove(&room);
                continue;
            }
            self.enter(&room, &mut state, recipient, carried.listens, None);
            joined.add(seat.as_ref().map_or_else(|| Arc::clone(&room.id), |seat| seat.membership(&room.id)));
            let was_listed = state.is_listed;
            state.is_listed |= carried.is_listed;
            if let Some(seat) = seat {
                state.sit_down(recipient.state().id, seat.take());
            }
            let is_listed = state.is_listed;
            drop(state);
            if is_listed {
                self.report_listed(&carried.name, was_listed);
            }
            return Ok(());
        }
    }

    /// Removes a connection from its rooms, for another node or because it has not come from there. It can join no room
    /// any more. The gate is closed.
    pub(crate) fn carry_out(&self, recipient: &dyn Recipient) {
        let rooms = recipient.state().memberships.lock().end();
        for room in rooms {
            self.exit(&room.name, recipient, None, Vacating::Now);
        }
    }

    /// Announces that a user has left the rooms of a connection that was [carried out](Self::carry_out), because no
    /// other node has taken the session.
    pub(crate) fn announce_lost(&self, recipient: &dyn Recipient) {
        // Runs the session's code, so no lock may be held.
        let member = Member::new(recipient);
        let _passing = self.gate.pass();
        for name in recipient.state().memberships.names() {
            if self.announce(&name, Presence::Left, &member, &[]) && self.cluster.reaches(Address::Room(&name)) {
                let message = NodeMessage::Presence { presence: Presence::Left, member: member.clone() };
                // If the bus cannot be reached, other nodes see the change when they ask for the members.
                let _ = self.cluster.publish(Address::Room(&name), message);
            }
        }
    }
}
