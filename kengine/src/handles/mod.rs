//! The handles that handlers hold: the connection, the hub, and what the hub reaches.

pub(crate) mod ask;
pub(crate) mod connection;
pub(crate) mod everybody;
pub(crate) mod hub;
pub(crate) mod join;
pub(crate) mod room;
pub(crate) mod user;
