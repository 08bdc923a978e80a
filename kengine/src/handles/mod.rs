//! The handles that handlers use: the connection, the hub, and what the hub gives access to.

mod ask;
mod connection;
mod everybody;
mod game_loop;
mod hub;
mod join;
mod loop_kind;
mod room;
mod user;

pub use self::ask::{Ask, AskError};
pub use self::connection::Connection;
pub use self::everybody::Everybody;
pub use self::game_loop::{GameLoop, LoopRoom, Start};
pub use self::hub::Hub;
pub use self::join::{Fill, Join};
pub use self::room::{List, Room, RoomCount, Rooms};
pub use self::user::User;
