//! The gateway of the first kengine reads the list of nodes, then the counter of each, and answers 500 to every
//! player if one is missing. It never misses a counter, nor finds a node that has gone for good.
//! `KENGINE_CLUSTER_EVENTS` sets how often something happens to a node; `.ci/long` sets more events.

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
/// How late a beat or a signal may be on a busy machine.
const PATIENCE: Duration = Duration::from_millis(700);

/// What was done to a node.
#[derive(Clone, Copy, Debug)]
enum Done {
    Started,
    Killed(Instant),
    Told(Instant),
}

impl Done {
    /// Returns whether the node may still be listed.
    fn may_be_listed(self, looked: Instant) -> bool {
        match self {
            Self::Started => true,
            Self::Killed(at) => looked.saturating_duration_since(at) <= LEASE + 2 * LEASE / 3 + PATIENCE,
            Self::Told(at) => looked.saturating_duration_since(at) <= PATIENCE,
        }
    }
}

type Fates = Arc<Mutex<HashMap<SocketAddr, Done>>>;

fn events() -> usize {
    let events = std::env::var("KENGINE_CLUSTER_EVENTS");
    events.map_or(16, |events| events.parse().expect("a number"))
}

/// Reads as that gateway does until the test ends; returns how often.
async fn read(mut directory: Directory, fates: Fates) -> usize {
    let mut reads = 0;
    while Arc::strong_count(&fates) > 1 {
        let looked = Instant::now();
        for address in directory.listed().await {
            let count: Option<i64> = directory.redis.get(&address).await.expect("a number");
            assert!(count.is_some_and(|count| count >= 0), "the counter of {address} is {count:?}");
            let fate = fates.lock().unwrap()[&address.parse().expect("an address")];
            assert!(fate.may_be_listed(looked), "{address} is listed, {:?} after {fate:?}", looked.elapsed());
        }
        reads += 1;
        tokio::task::yield_now().await;
    }
    reads
}

/// Starts a node, and waits until it is in the directory.
async fn start(address: SocketAddr, redis: &RedisServer, fates: &Fates) -> NodeProcess {
    let mut directory = redis.directory().await;
    let before = directory.node(address, "boot").await;
    fates.lock().unwrap().insert(address, Done::Started);
    let node = NodeProcess::start(NODE, address, &redis.url(), LEASE).await;
    let joined = async || directory.node(address, "boot").await.filter(|boot| before.as_ref() != Some(boot));
    until("a node in the directory", joined).await;
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_listed_node_lives_and_has_a_counter() {
    let _turn = heavy_test().await;
    let redis = RedisServer::start().await;
    let fates = Fates::default();
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(Some(start(free_address(), &redis, &fates).await));
    }
    let reading = tokio::spawn(read(redis.directory().await, Arc::clone(&fates)));
    let mut dice = Dice::new(7);
    for _ in 0..events() {
        // The first node always lives.
        let at = 1 + dice.roll(NODES - 1);
        let mut node = nodes[at].take().expect("each comes back");
        let address = node.address();
        let fate = |done| _ = fates.lock().unwrap().insert(address, done);
        match dice.roll(3) {
            0 => {
                node.kill();
                fate(Done::Killed(Instant::now()));
            }
            1 => {
                node.kill();
                fate(Done::Killed(Instant::now()));
                // Long enough for the node to be reaped, or nearly so.
                sleep(LEASE * u32::try_from(dice.roll(25)).expect("few") / 10).await;
            }
            _ => {
                fate(Done::Told(Instant::now()));
                node.terminate();
                node.ended().await;
            }
        }
        nodes[at] = Some(start(address, &redis, &fates).await);
        assert!(!reading.is_finished(), "the reader has failed");
    }
    drop(fates);
    let reads = reading.await.expect("a reader that meets nothing wrong");
    eprintln!("{reads} reads during {} events", events());
    let mut directory = redis.directory().await;
    let mut listed = directory.listed().await;
    listed.sort();
    let mut addresses: Vec<_> = nodes.iter().flatten().map(|node| node.address().to_string()).collect();
    addresses.sort();
    assert_eq!(listed, addresses);
}
