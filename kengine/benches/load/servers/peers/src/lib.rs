//! What the servers share: the game by hand, a room, and how connections begin.

pub mod game;
pub mod handshake;
pub mod listening;
pub mod room;
pub mod upgrading;
