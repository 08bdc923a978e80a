//! Sessions that outlive their connections, over real sockets.

mod bounds;
mod cuts;
mod elsewhere;
mod handing_over;
mod hand_over_faults;
mod places;
mod tokens;
mod transcripts;
