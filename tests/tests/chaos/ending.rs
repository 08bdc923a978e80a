//! Checks that nothing is left when all players are gone, and again when all nodes have ended.

use std::fs;

use redis::AsyncCommands;

use crate::{cluster::Cluster, crowd::Crowd, invariants::settled};

/// The tasks and open files of each node without players.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Baseline {
    tasks: usize,
    files: usize,
}

impl Baseline {
    /// Waits until all nodes have the same, and returns it.
    pub(crate) async fn of(cluster: &Cluster) -> Self {
        let mut baseline = None;
        settled("nodes without players differ", async || {
            let mut seen = Vec::new();
            for node in &cluster.nodes {
                let mut node = node.lock().await;
                seen.push(Self { tasks: node.report(&[]).await?.tasks, files: node.open_files() });
            }
            baseline = seen.first().copied();
            if seen.iter().all(|one| Some(*one) == baseline) { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .await;
        baseline.expect("several nodes")
    }
}

/// Waits until nothing is left of the players.
pub(crate) async fn players_left_nothing(cluster: &Cluster, baseline: Baseline) {
    settled("something is left of the players", async || {
        for (node, address) in cluster.nodes.iter().zip(&cluster.advertised) {
            let mut node = node.lock().await;
            let report = node.report(&[]).await?;
            let now = Baseline { tasks: report.tasks, files: node.open_files() };
            if (report.connections, report.rooms, now) != (0, 0, baseline) {
                return Err(format!("node {address} has {report:?} and {now:?}; before the players came {baseline:?}"));
            }
            let mut directory = cluster.directory().await;
            let (count, load) = (directory.count(address).await, directory.load(address).await);
            if (count, load) != (Some(0), Some(0)) {
                return Err(format!("node {address} has the count {count:?} and the load {load:?}"));
            }
        }
        let nodes: Vec<_> = cluster.advertised.iter().map(ToString::to_string).collect();
        let of_nodes = |key: &String| {
            ["NODE_HOST_LIST", "{kengine}:load", "{kengine}:lease"].contains(&&**key)
                || nodes.contains(key)
                || nodes.iter().any(|node| *key == format!("{{kengine}}:node:{node}"))
        };
        keys_are_right(cluster, of_nodes).await
    })
    .await;
}

/// Drains all nodes, and waits until nothing is left of them.
pub(crate) async fn nodes_left_nothing(cluster: &Cluster) {
    for node in &cluster.nodes {
        node.lock().await.drain().await;
    }
    settled("something is left of the nodes", async || keys_are_right(cluster, |_| false).await).await;
}

/// Checks that each key is expected or expires. The keys of rooms may expire, and those of users on nodes that were
/// killed.
async fn keys_are_right(cluster: &Cluster, is_expected: impl Fn(&String) -> bool) -> Result<(), String> {
    let mut directory = cluster.directory().await;
    let boots: Vec<_> = {
        let mut boots = Vec::new();
        for address in &cluster.advertised {
            boots.extend(directory.node(address, "boot").await);
        }
        boots
    };
    for key in directory.keys().await {
        if is_expected(&key) {
            continue;
        }
        let ttl: i64 = directory.redis.ttl(&key).await.expect("an answer");
        if key.starts_with("kengine:user:") {
            let boot: Option<String> = directory.redis.hget(&key, "boot").await.expect("an answer");
            if boot.is_some_and(|boot| boots.contains(&boot)) {
                return Err(format!("the directory holds `{key}` on a node that lives"));
            }
        } else if !key.starts_with("kengine:room:") {
            return Err(format!("the directory holds `{key}`"));
        }
        if ttl == -1 {
            return Err(format!("`{key}` never expires"));
        }
    }
    Ok(())
}

/// Checks that no log has a panic or an error.
pub(crate) async fn logs_are_clean(cluster: &Cluster, crowd: &Crowd) {
    for entry in fs::read_dir(&cluster.folder).expect("a folder of ours") {
        let path = entry.expect("a folder of ours").path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let log = fs::read_to_string(&path).expect("a log");
        for line in log.lines().filter(|line| line.contains("ERROR") || line.contains("panicked")) {
            crowd.wrong(format!("{}: {line}", path.display()));
        }
    }
    let errors = cluster.gateway.lock().await.errors();
    // nginx writes such lines when a connection of the gateway fails, and when it is stopped soon after a reload.
    let tolerated = ["recv() failed (", "send() failed (", "connect() failed (", "open socket #", "aborting"];
    let is_tolerated = |line: &&str| tolerated.iter().any(|text| line.contains(text));
    let is_error = |line: &&str| ["[error]", "[crit]", "[alert]", "[emerg]"].iter().any(|level| line.contains(level));
    for line in errors.lines().filter(is_error).filter(|line| !is_tolerated(line)) {
        crowd.wrong(format!("the gateway: {line}"));
    }
    crowd.check();
}
