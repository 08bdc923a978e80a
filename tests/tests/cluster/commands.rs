//! The load that a node puts on Redis: commands and round trips, counted by a proxy.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use kengine_tests::{Proxy, RawClient, RedisServer, TestServer, Town, heavy_test, until};
use tokio::time::sleep;

/// The default lease.
const LEASE: Duration = Duration::from_secs(6);

/// Starts a node that reaches Redis through its own proxy, which counts.
async fn node(redis: &RedisServer) -> (TestServer, Proxy) {
    let proxy = Proxy::start(redis.port()).await;
    let server = TestServer::start(Town::node(&proxy.url(), LEASE)).await;
    redis.directory().await.count_is(server.address(), Some(0)).await;
    (server, proxy)
}

#[tokio::test]
async fn an_idle_node_sends_at_most_two_commands_a_second() {
    let redis = RedisServer::start().await;
    let (one, ones) = node(&redis).await;
    let (other, others) = node(&redis).await;
    let mut players = Vec::new();
    for (server, uid) in [(&one, "ada"), (&other, "bob")] {
        let player = Town::enter_lobby(server.address(), uid).await;
        redis.directory().await.user_is(uid, Some(server.address().to_string())).await;
        players.push(player);
    }
    // Three heartbeats of the node fall into this time.
    let begun = (Instant::now(), ones.commands(), others.commands());
    sleep(LEASE).await;
    let seconds = begun.0.elapsed().as_secs_f64();
    for (proxy, before) in [(ones, begun.1), (others, begun.2)] {
        let commands = proxy.commands() - before;
        eprintln!("{commands} commands in {seconds:.1} s");
        assert!(commands > 0, "the node did not renew its lease");
        // One second more is allowed for the edges of the interval.
        assert!(f64::from(u32::try_from(commands).unwrap()) <= 2.0 * (seconds + 1.0), "{commands} commands");
    }
    drop(players);
    one.stop().await;
    other.stop().await;
}

/// Connects this many clients, one after another.
async fn connect(address: SocketAddr, count: usize) -> Vec<RawClient> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(RawClient::connect(address).await);
    }
    clients
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_counted_in_few_round_trips() {
    const PLAYERS: usize = 3000;
    const AT_ONCE: usize = 10;
    let _turn = heavy_test().await;
    let redis = RedisServer::start().await;
    let (server, proxy) = node(&redis).await;
    let (begun, before) = (Instant::now(), proxy.trips());
    let crowd: Vec<_> = (0..AT_ONCE).map(|_| tokio::spawn(connect(server.address(), PLAYERS / AT_ONCE))).collect();
    let mut players = Vec::new();
    for some in crowd {
        players.extend(some.await.expect("players who connect"));
    }
    let mut directory = redis.directory().await;
    directory.count_is(server.address(), Some(PLAYERS)).await;
    until("all claims", async || {
        let keys: usize = redis::cmd("DBSIZE").query_async(&mut directory.redis).await.unwrap();
        // The others are the list, the counter, the load, the lease and the node.
        (keys == PLAYERS + 5).then_some(())
    })
    .await;
    let (trips, took) = (proxy.trips() - before, begun.elapsed());
    eprintln!("{PLAYERS} connects in {took:?}: {trips} round trips");
    // At most one round trip every 25 ms, and ten more for the bus's two connections and its heartbeat.
    let most = 40.0 * took.as_secs_f64() + 10.0;
    assert!(f64::from(u32::try_from(trips).unwrap()) <= most, "{trips} round trips, of at most {most}");
    drop(players);
    directory.count_is(server.address(), Some(0)).await;
    server.stop().await;
    assert_eq!(directory.keys().await, [""; 0]);
}
