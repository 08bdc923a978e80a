//! The gateway, nginx, in front of the nodes of a cluster.

mod affinity;
mod away;
mod configuration;
mod failures;
mod filling;
mod limits;
mod original;
mod query;
mod refusals;
mod restart;
mod resuming;
mod rolling;
mod seats;
mod versions;
