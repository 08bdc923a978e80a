//! Rooms, users and endpoints of one server, and rooms under load.

mod endpoints;
mod leaving;
mod limits;
mod membership;
mod returning;
mod under_load;
mod users;
