//! The HTTP side of a handshake: reading, checking and refusing requests.

pub(crate) mod handshake;
pub(crate) mod origins;
pub(crate) mod proxies;
pub(crate) mod refusal;
pub(crate) mod reservation;
pub(crate) mod upgrade_request;
