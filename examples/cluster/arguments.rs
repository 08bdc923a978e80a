//! What it is told when it is started.

use std::{ffi::OsString, net::SocketAddr};

use clap::{Args, Parser, Subcommand};

/// A whole cluster on this machine: a private Redis, nginx as the gateway, and chat nodes behind it.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) size: Size,
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
}

#[derive(Args)]
pub(crate) struct Size {
    /// How many nodes there are at first
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) nodes: u8,
    /// Where the gateway listens; port 0 is a free one
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// How many players each node takes
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) capacity: u32,
}

/// What this program is when it starts itself.
#[derive(Subcommand)]
pub(crate) enum Role {
    /// A node
    #[command(hide = true)]
    Node { listen: SocketAddr, redis: String, capacity: usize },
    /// Another program, which ends with its parent
    #[command(hide = true)]
    Attached {
        parent: u32,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}
