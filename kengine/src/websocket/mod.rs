//! RFC 6455 without I/O: bytes to messages, messages to bytes, and close codes.

pub(crate) mod close;
pub(crate) mod deframer;
pub(crate) mod encoder;
mod frame;
pub(crate) mod message;
