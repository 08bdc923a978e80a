//! Sessions that outlive their connections, over real sockets.

mod absence;
mod bounds;
mod coming_and_going;
mod cuts;
mod elsewhere;
mod hand_over_faults;
mod hand_over_races;
mod handing_over;
mod keeping;
mod moving_loops;
mod moving_state;
mod node;
mod phones;
mod places;
mod tokens;
mod transcripts;
