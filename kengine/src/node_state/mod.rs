//! What one node knows about its own connections: users, rooms, outboxes and limits. It reaches other nodes only
//! through the trait [`Cluster`](cluster_interface::Cluster).

mod audience;
mod bucket;
mod carried_rooms;
mod client_addresses;
mod clock;
mod cluster_interface;
mod counters;
pub(crate) mod deferred_wakes;
mod errors;
mod expiries;
mod fan_out;
mod game_loop;
mod granted_seat;
mod hand_over;
mod limits;
mod listing;
mod member;
mod memberships;
#[cfg(all(test, kengine_model))]
pub(crate) mod model;
mod outbox;
mod panics;
mod questions;
mod rate_limiter;
mod recipient;
mod refusals;
mod room;
mod room_reports;
mod room_table;
mod rooms;
mod seat;
mod seat_requests;
mod send_gate;
mod sharded;
mod silence;
pub(crate) mod sync;
mod users;
pub(crate) mod workers;

pub use self::audience::Who;
pub(crate) use self::audience::{Audience, Reach, Selection};
pub(crate) use self::bucket::{Bucket, RateLimit, Sent};
pub(crate) use self::client_addresses::{ClientAddress, ClientAddresses};
pub(crate) use self::clock::Clock;
pub(crate) use self::cluster_interface::{
    Address, BoxFuture, Cluster, ClusterNode, Gathered, HandOvers, JoinCluster, Load, NodeInfo, NodeMessage, Status,
    Unavailable,
};
pub(crate) use self::counters::{Count, Counters};
pub(crate) use self::deferred_wakes::deferring;
pub use self::errors::{ExtendError, JoinError, SendError};
pub(crate) use self::expiries::Expiries;
pub(crate) use self::fan_out::{EncodedPush, FanOut};
pub(crate) use self::game_loop::{
    CreateLoop, LeaseAnswer, LeaseRequest, LeaseWish, LoopDriver, LoopFault, LoopLease, LoopMessage, LoopSettings,
    LoopStart, RoomWatcher, StartedLoop,
};
pub use self::game_loop::{GameLoopError, Tick};
pub(crate) use self::granted_seat::GrantedSeat;
pub(crate) use self::hand_over::{
    Asker, CarriedRoom, HandOverStep, NoSession, SessionAsk, SessionHolder, SessionOffer, StoredSession,
};
pub use self::limits::Duplicates;
pub(crate) use self::limits::{ClientRates, Limits, OutboxLimits};
pub use self::listing::{ListError, RoomPage, RoomSummary, SetPublicError};
pub(crate) use self::listing::{MAX_SCANNED_ROOMS, RoomQuery};
pub(crate) use self::member::Presence;
pub use self::member::{Joined, Left, Member, Members};
pub(crate) use self::memberships::Memberships;
pub(crate) use self::memberships::is_room_name;
pub use self::outbox::Queued;
pub(crate) use self::outbox::{BATCH, Backlog, Destination, Ending, Outbox};
pub(crate) use self::panics::{call_catching, poll_catching, run_catching};
pub(crate) use self::questions::{ClientError, MAX_QUESTIONS, Questions};
pub(crate) use self::rate_limiter::RateLimiter;
#[cfg(all(test, not(kengine_model)))]
pub(crate) use self::recipient::BareConnection;
pub use self::recipient::ConnectionId;
pub(crate) use self::recipient::{ConnectionState, Recipient};
pub(crate) use self::refusals::{Limit, Refusals};
pub use self::room::Occupants;
pub(crate) use self::room_table::RoomTable;
pub(crate) use self::rooms::{JoinRequest, LocalRooms};
#[cfg(feature = "redis")]
pub(crate) use self::seat::Wanted;
pub use self::seat::WhenAway;
pub(crate) use self::seat::{Seat, SeatRefusal, SeatRequest, Vacating};
pub(crate) use self::seat_requests::{SeatPlace, SeatWish, Seated};
pub(crate) use self::sharded::Sharded;
pub(crate) use self::silence::{CHECKS, Silence, nanoseconds};
pub(crate) use self::users::{ClaimOutcome, Users};
