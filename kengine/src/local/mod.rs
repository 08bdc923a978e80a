//! What one node knows about its own connections: users, rooms, outboxes and limits. It reaches other nodes only through
//! the trait [`Cluster`](cluster_interface::Cluster).

pub(crate) mod audience;
pub(crate) mod cluster_interface;
pub(crate) mod connection_id;
pub(crate) mod counters;
pub(crate) mod deferred_wakes;
pub(crate) mod delivery;
pub(crate) mod join_error;
pub(crate) mod limits;
pub(crate) mod member;
pub(crate) mod memberships;
pub(crate) mod outbox;
pub(crate) mod panics;
pub(crate) mod questions;
pub(crate) mod rate_limiter;
pub(crate) mod recipient;
pub(crate) mod room;
pub(crate) mod room_id;
pub(crate) mod rooms;
pub(crate) mod seating;
pub(crate) mod send_error;
mod sharded;
pub(crate) mod users;
