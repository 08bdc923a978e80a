//! The first kengine's gateway reads the list of nodes, then the counter of each, and answers 500 to every request if a
//! counter is missing. Whatever happens to the nodes, it must never find a counter missing, nor a node that has ended.
//!
//! `KENGINE_CLUSTER_EVENTS` sets how many events happen to the nodes; `.ci/long` sets more than the default.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use kengine_tests::{Dice, Directory, NodeProcess, RedisServer, free_address, heavy_test, until};
use redis::AsyncCommands;
use tokio::time::sleep;

const NODE: &str = env!("CARGO_BIN_EXE_node");
const NODES: usize = 4;
const LEASE: Duration = Duration::from_millis(900);

/// When nodes were gone: a drained node when it had ended, a killed node when it had left the list. Until it starts
/// again, the node must not be listed after that time.
type Gone = Arc<Mutex<HashMap<SocketAddr, Instant>>>;

fn events() -> usize {
    let events = std::env::var("KENGINE_CLUSTER_EVENTS");
    events.map_or(16, |events| events.parse().expect("a number"))
}

/// Reads as that gateway does until the test drops its `gone`; returns how often it has read.
async fn read(mut directory: Directory, gone: Gone) -> usize {
    let mut reads = 0;
    while Arc::strong_count(&gone) > 1 {
        let looked = Instant::now();
        for address in directory.listed().await {
            let count: Option<i64> = directory.redis.get(&address).await.expect("a number");
            assert!(count.is_some_and(|count| count >= 0), "the counter of {address} is {count:?}");
            let since = gone.lock().unwrap().get(&address.parse().expect("an address")).copied();
            assert!(since.is_none_or(|since| since >= looked), "{address} is listed although it was gone");
        }
        reads += 1;
        tokio::task::yield_now().await;
    }
    reads
}

/// Starts a node, and waits until it is in the directory.
async fn start(address: SocketAddr, redis: &RedisServer, gone: &Gone) -> NodeProcess {
    let mut directory = redis.directory().await;
    let before = directory.node(address, "boot").await;
    gone.lock().unwrap().remove(&address);
    let node = NodeProcess::start(NODE, address, &redis.url(), LEASE).await;
    let joined = async || directory.node(address, "boot").await.filter(|boot| before.as_ref() != Some(boot));
    until("a node in the directory", joined).await;
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_listed_node_lives_and_has_a_counter() {
    let _turn = heavy_test().await;
    let redis = RedisServer::start().await;
    let gone = Gone::default();
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(Some(start(free_address(), &redis, &gone).await));
    }
    let reading = tokio::spawn(read(redis.directory().await, Arc::clone(&gone)));
    let mut directory = redis.directory().await;
    let mut dice = Dice::new(7);
    for _ in 0..events() {
        // The first node is never touched, so that one is always alive.
        let at = 1 + dice.roll(NODES - 1);
        let mut node = nodes[at].take().expect("each comes back");
        let address = node.address();
        let is_gone = || _ = gone.lock().unwrap().insert(address, Instant::now());
        match dice.roll(4) {
            0 => node.kill(),
            1 => {
                node.kill();
                // This is up to two and a half leases, so the node may be reaped or not.
                sleep(LEASE * u32::try_from(dice.roll(25)).expect("few") / 10).await;
            }
            2 => {
                node.kill();
                let listed = address.to_string();
                until("the end of a lease", async || (!directory.listed().await.contains(&listed)).then_some(())).await;
                is_gone();
                // Reads go on while the other nodes remove its counter.
                sleep(LEASE * u32::try_from(dice.roll(10)).expect("few") / 10).await;
            }
            _ => {
                node.terminate();
                node.ended().await;
                is_gone();
            }
        }
        nodes[at] = Some(start(address, &redis, &gone).await);
        assert!(!reading.is_finished(), "the reader has failed");
    }
    drop(gone);
    let reads = reading.await.expect("a reader that meets nothing wrong");
    eprintln!("{reads} reads during {} events", events());
    let mut listed = directory.listed().await;
    listed.sort();
    let mut addresses: Vec<_> = nodes.iter().flatten().map(|node| node.address().to_string()).collect();
    addresses.sort();
    assert_eq!(listed, addresses);
}
