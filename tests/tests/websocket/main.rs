//! WebSocket connections: handshake, frames, closing, liveness and backpressure (RFC 6455).

mod backpressure;
mod closing;
mod handshake;
mod handshake_table;
mod liveness;
mod segments;
mod slow_readers;
mod violations;
