//! The task that serves one connection, and its socket.

mod buffers;
mod departing;
mod departures;
mod endpoint;
mod input_rates;
mod left_socket;
mod link;
mod look_ahead;
mod output;
mod refused;
mod replayed;
mod resumables;
mod resuming;
mod resumption;
mod session_codec;
mod socket;
mod socket_end;
mod socket_state;
mod taking_over;
mod task;
mod transport;

pub(crate) use self::endpoint::{Access, Endpoint};
pub(crate) use self::refused::close_refused;
pub(crate) use self::replayed::{Replayed, take_back};
pub(crate) use self::resumables::{NewSocket, Resumability};
pub(crate) use self::session_codec::SessionCodec;
pub(crate) use self::taking_over::{TakeOver, take_over};
pub(crate) use self::task::ConnectionTask;
pub(crate) use self::transport::{MemoryPipe, OtherTransport, Transport, tune};
