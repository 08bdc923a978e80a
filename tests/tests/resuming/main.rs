//! Sessions that outlive their connections, over real sockets.

mod bounds;
mod cuts;
mod elsewhere;
mod node;
mod phones;
mod places;
mod tokens;
mod transcripts;
