//! A cluster whose directory and bus are in Redis, or Valkey.

mod bus;
mod bus_connection;
mod claims;
mod config;
mod connection;
mod directory;
mod echoes;
mod hand_overs;
mod keys;
mod loops;
mod message;
mod node;
mod peers;
mod redeemed;
mod scripts;
mod seat_queue;
mod seats_script;
mod shared_state;
mod subscriber;

pub use self::config::Redis;
pub(super) use self::keys::DEFAULT_ROOM_LIFETIME;
pub(crate) use self::node::Outsider;
