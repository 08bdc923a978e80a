//! A cluster whose directory and bus are in Redis, or Valkey.

mod bus;
mod bus_connection;
mod claims;
mod config;
mod connection;
mod directory;
mod echoes;
mod keys;
mod loops;
mod message;
mod node;
mod peers;
mod redeemed;
mod scripts;
mod seat_orders;
mod seats;
mod shared_state;
mod subscriber;

use std::time::Duration;

pub use self::config::Redis;
pub(crate) use self::node::Outsider;

/// How long gateways send players to the node of a room after its last player came through a gateway, by default.
pub(super) const DEFAULT_ROOM_LIFETIME: Duration = Duration::from_mins(10);
