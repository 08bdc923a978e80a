//! The task that serves one connection, and its socket.

mod buffers;
mod endpoint;
mod input_rates;
mod link;
mod look_ahead;
mod output;
mod refused;
mod replayed;
mod resumables;
mod resuming;
mod resumption;
mod socket;
mod socket_end;
mod socket_state;
mod task;
mod transport;

pub(crate) use self::endpoint::{Access, Endpoint};
pub(crate) use self::refused::close_refused;
pub(crate) use self::replayed::{Replayed, take_back};
pub(crate) use self::resumables::{NewSocket, Resumability};
pub(crate) use self::task::ConnectionTask;
pub(crate) use self::transport::{MemoryPipe, Transport, tune};
