//! Asks the cluster for seats on behalf of connections.

use std::sync::Arc;

use crate::node_state::errors::JoinError;
use crate::node_state::granted_seat::GrantedSeat;
use crate::node_state::memberships::{RoomId, check_name, check_prefix};
use crate::node_state::recipient::Recipient;
use crate::node_state::rooms::LocalRooms;
use crate::node_state::seat::{Seat, SeatRefusal, SeatRequest, Wanted, WhenAway};
use crate::node_state::sync::atomic::Ordering;

/// The seat that a connection wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeatWish<'w> {
    pub(crate) place: SeatPlace<'w>,
    /// The number of seats of the room.
    pub(crate) seats: usize,
    pub(crate) when_away: WhenAway,
}

/// Where a connection wants a seat.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SeatPlace<'w> {
    /// In the room of this name. If `family` is set, the room is one of that prefix.
    Room { name: &'w str, family: Option<&'w str> },
    /// In any room of this prefix.
    Family(&'w str),
}

/// The seat that a connection has got.
pub(crate) enum Seated<'r> {
    /// The seat is given up again unless the connection joins the room with it.
    Now(GrantedSeat<'r>),
    /// The connection had this seat before.
    Already(Seat),
}

impl SeatPlace<'_> {
    fn check(self) -> Result<(), JoinError> {
        match self {
            Self::Room { name, family: None } => check_name(name),
            Self::Room { name, family: Some(family) } => {
                check_prefix(family)?;
                if name.starts_with(family) { check_name(name) } else { Err(JoinError::WrongPrefix) }
            }
            Self::Family(family) => check_prefix(family),
        }
    }
}

impl LocalRooms {
    /// Asks the cluster for a seat. Each request counts as a join of the connection, so that clients cannot ask as
    /// often as they want.
    pub(crate) async fn take_seat<'r>(
        &self,
        recipient: &'r dyn Recipient,
        wish: SeatWish<'_>,
    ) -> Result<Seated<'r>, JoinError> {
        let request = match self.seat_request(recipient, wish)? {
            Ok(request) => request,
            Err(seat) => return Ok(Seated::Already(seat)),
        };
        match self.cluster.take_seat(request).await {
            Ok(seat) => Ok(Seated::Now(GrantedSeat::new(seat, recipient, self.seat_timeout, &self.cluster))),
            Err(SeatRefusal::Full) => Err(JoinError::Full(wish.seats)),
            Err(SeatRefusal::Unavailable) => Err(JoinError::SeatsUnknown),
        }
    }

    /// Returns the request for a seat, or the seat that the connection has already.
    fn seat_request(
        &self,
        recipient: &dyn Recipient,
        wish: SeatWish<'_>,
    ) -> Result<Result<SeatRequest, Seat>, JoinError> {
        let SeatWish { place, seats, when_away } = wish;
        place.check()?;
        let mut joined = recipient.state().memberships.lock();
        let seat_in = |room: &Arc<RoomId>| {
            self.find(&room.name).and_then(|room| room.state.read().seat_of(recipient.state().id).cloned())
        };
        let known = match place {
            SeatPlace::Room { name, .. } => joined.current().find(|room| &*room.name == name).cloned(),
            SeatPlace::Family(family) => joined.room_of_family(family).cloned(),
        };
        if let Some(seat) = known.as_ref().and_then(seat_in) {
            return Ok(Err(seat));
        }
        if known.is_none() {
            joined.check_may_enter(self.max_rooms_per_connection)?;
        }
        self.count_join(&mut joined, recipient)?;
        drop(joined);
        let wanted = match place {
            SeatPlace::Room { name, family } => Wanted::Room { name: name.into(), family: family.map(Arc::from) },
            SeatPlace::Family(family) => Wanted::Family { family: family.into(), fresh: self.fresh_name(family)? },
        };
        let number = self.next_seat.fetch_add(1, Ordering::Relaxed);
        Ok(Ok(SeatRequest { wanted, seats, uid: recipient.state().uid.clone(), number, when_away }))
    }

    /// Returns a new name in a family, which no node generates again. A client may have guessed names and joined rooms
    /// of these names; they are left out.
    fn fresh_name(&self, family: &str) -> Result<Arc<str>, JoinError> {
        loop {
            let number = self.next_room.fetch_add(1, Ordering::Relaxed);
            let name = format!("{family}{:x}-{number}", self.boot);
            check_name(&name)?;
            if !self.contains(&name) {
                return Ok(name.into());
            }
        }
    }
}
