//! A seat, and how it is asked for, refused and given up.

use std::sync::Arc;
use std::time::Duration;

use crate::protocol::Uid;

/// A request for a seat.
#[derive(Clone, Debug)]
pub(crate) struct SeatRequest {
    pub(crate) wanted: Wanted,
    /// The number of seats of the room.
    pub(crate) seats: usize,
    pub(crate) uid: Uid,
    /// The number of this request, unique within its node.
    pub(crate) number: u64,
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only Redis can be away"))]
    pub(crate) when_away: WhenAway,
}

/// Where a seat is wanted.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// In this room. If `family` is set, `fill` seats others there too.
    Room { name: Arc<str>, family: Option<Arc<str>> },
    /// In any room of the family, or in a new room with the name `fresh`.
    Family { family: Arc<str>, fresh: Arc<str> },
}

/// What happens to a request for a seat while the cluster cannot be reached, and so nobody knows which seats the
/// players of other nodes have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenAway {
    /// The request fails with [`JoinError::SeatsUnknown`](crate::room::JoinError::SeatsUnknown).
    #[default]
    Refuse,
    /// Only the seats of this node count. A room may then have more players than seats, until enough of them have left.
    Local,
}

/// A seat that a player has.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) room: Arc<str>,
    pub(crate) family: Option<Arc<str>>,
    /// The number of seats of the room.
    pub(crate) seats: usize,
    pub(crate) uid: Uid,
    /// The number of the request.
    pub(crate) number: u64,
    /// The address of the node that hosts the room, if that is another node and has an address.
    pub(crate) host: Option<Arc<str>>,
}

/// Why a player did not get a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeatRefusal {
    /// All seats are taken.
    Full,
    /// The cluster cannot be reached.
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only Redis can be away"))]
    Unavailable,
}

/// When a seat is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vacating {
    Now,
    /// At the end of this time, unless the player's newer connection takes the seat over before.
    KeptFor(Duration),
}
