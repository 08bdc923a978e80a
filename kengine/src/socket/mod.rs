//! Bytes ↔ whole messages, sans-IO (RFC 6455, section 5).

pub(crate) mod deframer;
pub(crate) mod encoder;
