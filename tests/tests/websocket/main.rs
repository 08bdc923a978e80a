//! WebSocket connections: handshake, frames, closing, liveness, rates and backpressure (RFC 6455).

mod backpressure;
mod closing;
mod handshake;
mod handshake_table;
mod liveness;
mod rates;
mod refusals;
mod segments;
mod slow_readers;
mod violations;
