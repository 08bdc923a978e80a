//! The content of the table.

use std::fmt;

use crate::{
    cluster::Cluster,
    directory::Entry,
    node::{Node, State},
    processes::how,
};

pub(crate) const COLUMNS: [&str; 9] =
    ["#", "address", "state", "players", "reserved", "capacity", "msg/s", "rooms", "lease"];

/// The cells of a row.
pub(crate) type Row = [String; COLUMNS.len()];

pub(crate) fn row(node: &Node) -> Row {
    let known = |of: fn(&Entry) -> String| node.entry.as_ref().map_or("–".to_owned(), of);
    [
        node.number.to_string(),
        node.address.clone(),
        node.state.to_string(),
        known(|entry| entry.players.to_string()),
        known(|entry| entry.reserved.to_string()),
        known(|entry| entry.capacity.to_string()),
        known(|entry| entry.messages_a_second.to_string()),
        known(|entry| entry.rooms.to_string()),
        known(|entry| lease(entry.lease)),
    ]
}

/// Returns the totals of all running nodes. Rooms have no total, because a room can be on several nodes.
pub(crate) fn totals(cluster: &Cluster) -> Row {
    let entries = || cluster.nodes.iter().filter(|node| node.runs()).filter_map(|node| node.entry.as_ref());
    let sum = |of: fn(&Entry) -> u64| entries().map(of).sum::<u64>().to_string();
    let listed = entries().filter(|entry| entry.is_listed).count();
    [
        String::new(),
        format!("{listed} accepting"),
        String::new(),
        sum(|entry| entry.players),
        sum(|entry| entry.reserved),
        sum(|entry| entry.capacity),
        sum(|entry| entry.messages_a_second),
        String::new(),
        String::new(),
    ]
}

/// Formats the remaining time of a lease, in milliseconds.
pub(crate) fn lease(left: i64) -> String {
    if left > 0 { format!("{}.{} s", left / 1000, left % 1000 / 100) } else { "over".to_owned() }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::Ready => f.write_str("ready"),
            Self::Draining => f.write_str("draining"),
            Self::Lost => f.write_str("lost"),
            Self::Ended(status) => f.write_str(&how(*status)),
        }
    }
}
