//! The values that a dispatcher, a client and the server exchange. Nothing here knows a socket or a node.

pub(crate) mod answer;
pub(crate) mod call;
pub(crate) mod const_text;
pub(crate) mod disconnect_reason;
pub(crate) mod envelope;
pub(crate) mod error;
pub(crate) mod liveness;
pub(crate) mod push;
pub(crate) mod route;
pub(crate) mod session;
pub(crate) mod start_error;
pub(crate) mod syntax;
pub(crate) mod uid;
