//! RFC 6455 without I/O: bytes to messages, messages to bytes, and close codes.

mod close;
mod deframer;
pub(crate) mod encoder;
mod frame;
mod message;

pub use self::close::{Close, CloseCode, InvalidCloseCode};
pub(crate) use self::deframer::{Deframer, MessageLimits, WebSocketEvent};
pub(crate) use self::frame::Violation;
pub use self::message::Message;
