//! The HTTP side of a handshake: what a request says, who may connect, and how a request is refused.

pub(crate) mod handshake;
pub(crate) mod origins;
pub(crate) mod proxies;
pub(crate) mod refusal;
pub(crate) mod reservation;
pub(crate) mod upgrade_request;
