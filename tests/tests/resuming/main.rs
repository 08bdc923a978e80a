//! Sessions that outlive their connections, over real sockets.

mod absence;
mod bounds;
mod coming_and_going;
mod cuts;
mod elsewhere;
mod keeping;
mod node;
mod phones;
mod places;
mod tokens;
mod transcripts;
