//! Sessions that outlive their connections, over real sockets.

mod cuts;
mod tokens;
