//! The task that serves one connection, and its socket.

mod buffers;
pub(crate) mod endpoint;
mod socket;
pub(crate) mod task;
pub(crate) mod transport;
