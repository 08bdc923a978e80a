//! Everything that can go wrong goes wrong at random, often at once, while players play; and after each such storm,
//! everything must be right again.
//!
//! | file | content |
//! |---|---|
//! | `cluster.rs`, `node.rs` | what is disturbed: nodes, Redis, a gateway, and the paths between them |
//! | `plan.rs`, `faults.rs` | which faults happen and when, drawn from a seed; how they are carried out |
//! | `crowd.rs`, `players.rs` | the players: what they do, and what they know about themselves |
//! | `link.rs` | what must be true of each connection at each moment: answers and pushes, their number and order |
//! | `invariants.rs` | what must be true of the whole cluster after each storm |
//! | `ending.rs` | what must be left at the end |
//!
//! After `KENGINE_CHAOS_SECONDS`, no further storm begins. `KENGINE_CHAOS_SEED` sets which storms there are: it sets
//! the faults and what players want to do, but how both meet depends on the machine too.
//!
//! Clocks are not changed: a node reads no clock of its machine but the monotonic one, and orders claims by the clock
//! of Redis.

mod cluster;
mod crowd;
mod ending;
mod faults;
mod invariants;
mod link;
mod node;
mod plan;
mod players;

use std::{
    env,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use crate::{
    cluster::Cluster,
    crowd::{Crowd, Mode},
    ending::Baseline,
    plan::Plan,
};

/// Returns a number from the environment.
fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("`{name}` must be a number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_right_after_each_storm() {
    let time = Duration::from_secs(number("KENGINE_CHAOS_SECONDS").unwrap_or(20));
    let clock = SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970");
    let seed = number("KENGINE_CHAOS_SEED").unwrap_or_else(|| u64::from(clock.subsec_nanos()));
    // The output is shown if the test fails.
    eprintln!("KENGINE_CHAOS_SEED={seed} KENGINE_CHAOS_SECONDS={}", time.as_secs());
    let cluster = Arc::new(Cluster::start().await);
    eprintln!("logs: {}", cluster.folder.display());
    let baseline = Baseline::of(&cluster).await;
    let (crowd, players) = Crowd::start(cluster.front, seed);
    let mut plan = Plan::new(seed);
    let begun = Instant::now();
    let mut round = 0;
    while begun.elapsed() < time {
        round += 1;
        let faults = plan.storm();
        crowd.tell(format!("storm {round}: {} faults", faults.len()));
        crowd.mode.send_replace(Mode::Play);
        faults::storm(&cluster, &crowd, faults).await;
        crowd.tell("calm");
        let absent = plan.absent();
        if let Some(node) = absent {
            crowd.tell(format!("  node {node} is killed and stays away"));
            cluster.nodes[node].lock().await.kill().await;
        }
        invariants::verify(&cluster, &crowd, round).await;
        if let Some(node) = absent {
            cluster.nodes[node].lock().await.start();
        }
    }
    crowd.go(players).await;
    crowd.tell("the players are gone");
    ending::players_left_nothing(&cluster, baseline).await;
    ending::nodes_left_nothing(&cluster).await;
    ending::logs_are_clean(&cluster, &crowd).await;
    for (what, count) in crowd.counts() {
        eprintln!("{count:8} {what}");
    }
}
