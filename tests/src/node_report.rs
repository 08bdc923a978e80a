//! What a node of the chaos test reports about itself.

use std::{collections::BTreeMap, io::stdin};

use kengine::Hub;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

/// What a node holds.
#[derive(Debug, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its connections, with those that are just coming or going.
    pub connections: usize,
    /// The tasks of its runtime.
    pub tasks: usize,
    /// The rooms with members on this node.
    pub rooms: usize,
    /// The members of the rooms that were asked for, in the whole cluster: sorted uids, or `None` if a node did not
    /// answer.
    pub members: BTreeMap<String, Option<Vec<String>>>,
}

impl NodeReport {
    /// For each line of the standard input, which names rooms, prints a report with their members. Returns when the
    /// input ends.
    pub fn print_when_asked(hub: &Hub, runtime: &Handle) {
        for rooms in stdin().lines().map_while(Result::ok) {
            let report = runtime.block_on(Self::new(hub, runtime, rooms.split_whitespace()));
            println!("{}", serde_json::to_string(&report).expect("a report in JSON"));
        }
    }

    async fn new(hub: &Hub, runtime: &Handle, rooms: impl Iterator<Item = &str>) -> Self {
        let mut members = BTreeMap::new();
        for room in rooms {
            let found = hub.room(room).members().await;
            let mut uids: Vec<_> = found.iter().map(|member| member.uid.to_string()).collect();
            uids.sort();
            members.insert(room.to_owned(), (!found.is_partial()).then_some(uids));
        }
        let (connections, tasks) = (hub.connections(), runtime.metrics().num_alive_tasks());
        Self { connections, tasks, rooms: hub.rooms("").local_list().len(), members }
    }
}
