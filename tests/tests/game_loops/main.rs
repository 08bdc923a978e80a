//! The game loops of rooms: one at a time in the cluster, whatever happens to its nodes.

mod arena;
mod calls;
mod ending;
mod kinds;
mod moving;
mod nodes;
mod redis_away;
