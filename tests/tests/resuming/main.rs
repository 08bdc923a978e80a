//! Sessions that outlive their connections, over real sockets.

mod bounds;
mod cuts;
mod elsewhere;
mod hand_over_faults;
mod handing_over;
mod places;
mod tokens;
mod transcripts;
