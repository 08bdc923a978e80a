//! The command line.

use std::{ffi::OsString, net::SocketAddr};

use clap::{Args, Parser, Subcommand};

/// Run a complete cluster on this machine: a private Redis, nginx as the gateway, and chat nodes.
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
    /// Number of nodes at the start
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) nodes: u8,
    /// Address of the gateway; port 0 selects a free port
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Maximum number of players per node
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) capacity: u32,
}

/// The roles in which this program starts itself.
#[derive(Subcommand)]
pub(crate) enum Role {
    /// Run a node
    #[command(hide = true)]
    Node { listen: SocketAddr, redis: String, capacity: usize },
    /// Run another program that ends with its parent
    #[command(hide = true)]
    Attached {
        parent: u32,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}
