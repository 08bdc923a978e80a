//! The resumption of a session after its connection was cut: what both sides count and keep, and the messages in which
//! they tell each other. Nothing here reads or writes a socket.

mod control;
mod exchange;
#[cfg(all(test, not(kengine_model)))]
mod model;
mod token;

pub(crate) use self::control::{ResumeAnswer, parse_ack, write_ack};
pub(crate) use self::exchange::{Exchange, KeyedFrame};
pub(crate) use self::token::{RESUME_SUBPROTOCOL, ResumeRequest, Token, Tokens};
