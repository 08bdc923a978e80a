//! The gateway sends each player to the node with the least load for its capacity.

use std::{net::SocketAddr, time::Duration};

use kengine_tests::{
    Audit, Client, Network, Proxy, RawClient, RedisServer, Said, TestGateway, TestServer, Town, Upgrade, heavy_test,
    until,
};
use tokio::{task::JoinSet, time::interval};

const LEASE: Duration = Duration::from_secs(6);
/// How often connects of a given rate are started; all that are due start together.
const TURN: Duration = Duration::from_millis(5);

/// Starts nodes with these capacities.
async fn nodes(redis: &RedisServer, capacities: &[usize]) -> Vec<TestServer> {
    let mut nodes = Vec::new();
    for capacity in capacities {
        nodes.push(redis.serve(Town::node(&redis.url(), LEASE).max_connections(*capacity)).await);
    }
    nodes
}

/// Connects this many players, at a rate per second or all at once.
async fn connect(address: SocketAddr, count: usize, rate: Option<usize>) -> Vec<RawClient> {
    let mut connecting = JoinSet::new();
    let mut turn = interval(TURN);
    for number in 0..count {
        if rate.is_some_and(|rate| number % (rate * TURN.as_millis() as usize / 1000) == 0) {
            turn.tick().await;
        }
        connecting.spawn(async move { Upgrade::new(address).open(address).await });
    }
    connecting.join_all().await
}

/// Returns how many players each node has, once all are counted.
async fn counts(redis: &RedisServer, nodes: &[TestServer], all: usize) -> Vec<usize> {
    let mut directory = redis.directory().await;
    until("all players to be counted", async || {
        let mut counts = Vec::new();
        for node in nodes {
            counts.push(directory.count(node.address()).await?);
        }
        (counts.iter().sum::<usize>() == all).then_some(counts)
    })
    .await
}

/// Returns whether the counts, divided by the shares, differ by 5 percent at most.
fn is_even(counts: &[usize], shares: &[usize]) -> bool {
    let each = || counts.iter().zip(shares).map(|(count, share)| (count * 1000).div_ceil(*share));
    let (least, most) = (each().min().unwrap_or(0), each().max().unwrap_or(0));
    least > 0 && most * 100 <= least * 105
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_fill_evenly_at_a_thousand_connects_a_second() {
    let _turn = heavy_test().await;
    let redis = RedisServer::start().await;
    let nodes = nodes(&redis, &[10_000; 4]).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let audit = Audit::start(&redis);
    let players = connect(gateway.address(), 2000, Some(1000)).await;
    let counts = counts(&redis, &nodes, players.len()).await;
    audit.passed().await;
    assert!(is_even(&counts, &[1; 4]), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_fill_evenly_in_a_burst() {
    let _turn = heavy_test().await;
    let redis = RedisServer::start().await;
    let nodes = nodes(&redis, &[10_000; 4]).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let audit = Audit::start(&redis);
    let players = connect(gateway.address(), 800, None).await;
    let counts = counts(&redis, &nodes, players.len()).await;
    audit.passed().await;
    assert!(is_even(&counts, &[1; 4]), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_fill_in_proportion_to_their_capacity() {
    let _turn = heavy_test().await;
    let redis = RedisServer::start().await;
    let nodes = nodes(&redis, &[500, 1000, 500, 1000]).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let audit = Audit::start(&redis);
    let players = connect(gateway.address(), 1200, Some(1000)).await;
    let counts = counts(&redis, &nodes, players.len()).await;
    audit.passed().await;
    assert!(is_even(&counts, &[1, 2, 1, 2]), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_fill_to_the_last_seat_and_no_further() {
    let redis = RedisServer::start().await;
    let nodes = nodes(&redis, &[30, 60]).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let players = connect(gateway.address(), 90, None).await;
    assert_eq!(counts(&redis, &nodes, players.len()).await, [30, 60]);
    let refused = Upgrade::new(gateway.address()).ask(gateway.address()).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "no_node"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_worker_has_one_connection_to_redis() {
    let _turn = heavy_test().await;
    let redis = RedisServer::start().await;
    let _nodes = nodes(&redis, &[10_000; 2]).await;
    let made = async || {
        let stats = redis.info("stats").await;
        let made = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        made.and_then(|made| made.trim().parse::<usize>().ok()).expect("a number")
    };
    let before = made().await;
    let gateway = TestGateway::start(&redis.url()).await;
    for _ in 0..8 {
        drop(connect(gateway.address(), 500, None).await);
    }
    let workers = gateway.workers().len();
    // The connection that asks this question is not counted.
    let connections = made().await - before - 1;
    assert!((1..=workers).contains(&connections), "{connections} connections of {workers} workers");
}

#[tokio::test]
async fn a_player_reaches_a_node() {
    let redis = RedisServer::start().await;
    let node = TestServer::start(Town::node(&redis.url(), LEASE)).await;
    redis.directory().await.count_is(node.address(), Some(0)).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let mut client = Client::connect_to(gateway.address(), "/ws?uid=ada").await;
    assert_eq!(client.ask(r#"{"method":"who","message":"nowhere","id":1}"#).await, "1: []");
    assert_eq!(node.hub().connections(), 1);
    assert_eq!(gateway.errors(), "");
}

#[tokio::test]
async fn a_node_notices_a_slow_reader_through_the_gateway() {
    const MOST: usize = 2 * 1024 * 1024;
    let redis = RedisServer::start().await;
    let node = TestServer::start(Town::node(&redis.url(), LEASE)).await;
    redis.directory().await.count_is(node.address(), Some(0)).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let idle = Upgrade::new(gateway.address()).path("/ws?uid=ada").open(gateway.address()).await;
    until("a connection", async || (node.hub().connections() == 1).then_some(())).await;
    let said = Said("x".repeat(4096));
    let mut sent = 0;
    while matches!(node.hub().user("ada").send(&said), Ok(1)) && sent < MOST {
        sent += said.0.len();
        // The node's other tasks get a turn, so that everything that fits into the socket is written.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(sent < MOST, "the node noticed nothing after {sent} bytes");
    drop(idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_does_not_queue_when_redis_is_slow() {
    let _turn = heavy_test().await;
    let redis = RedisServer::start().await;
    let nodes = nodes(&redis, &[10_000; 4]).await;
    let proxy = Proxy::start(redis.port()).await;
    proxy.set(Network::Slow(Duration::from_millis(10)));
    let gateway = TestGateway::start(&proxy.url()).await;
    let players = connect(gateway.address(), 600, None).await;
    counts(&redis, &nodes, players.len()).await;
    assert_eq!(redis.calls("zincrby").await, players.len(), "Redis picks once for each player");
    // Each batch takes two round trips, however small it is.
    let trips = proxy.trips();
    assert!(trips < players.len() / 2, "{trips} round trips for {}", players.len());
}

#[tokio::test]
async fn tunnels_survive_a_reload_and_the_death_of_a_worker() {
    let redis = RedisServer::start().await;
    let _nodes = nodes(&redis, &[100; 2]).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let mut player = Client::connect(gateway.address()).await;
    let before = gateway.workers();
    gateway.reload();
    let reloaded =
        until("a new worker", async || gateway.workers().into_iter().find(|worker| !before.contains(worker))).await;
    assert_eq!(player.ask(r#"{"method":"who","message":"nowhere","id":1}"#).await, "1: []");
    gateway.kill(reloaded);
    until("its end", async || (!gateway.workers().contains(&reloaded)).then_some(())).await;
    assert_eq!(player.ask(r#"{"method":"who","message":"nowhere","id":2}"#).await, "2: []");
    for _ in 0..20 {
        Client::connect(gateway.address()).await;
    }
}
