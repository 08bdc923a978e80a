//! The task that serves one connection, and its socket.

mod buffers;
mod closing;
pub(crate) mod endpoint;
mod liveness;
mod look_ahead;
mod socket;
pub(crate) mod task;
pub(crate) mod transport;
