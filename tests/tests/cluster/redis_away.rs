//! Redis is killed, frozen, emptied or cut off: players notice nothing, and the cluster recovers when it is back.
//!
//! `KENGINE_OUTAGE_SECONDS` sets how long Redis is away; `.ci/long` sets more than the default.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use kengine::{Server, cluster::Redis};
use kengine_tests::{
    Client, Directory, Folder, Network, Proxy, RedisServer, Said, TestServer, Town, every_row, free_address,
    heavy_test, until, within,
};
use tokio::time::sleep;

const LEASE: Duration = Duration::from_millis(900);

fn outage() -> Duration {
    let seconds = std::env::var("KENGINE_OUTAGE_SECONDS");
    seconds.map_or(2 * LEASE, |seconds| Duration::from_secs(seconds.parse().expect("seconds")))
}

/// Two nodes with a player on each; both players are in the lobby.
struct Cluster {
    servers: Vec<TestServer>,
    players: Vec<Client>,
}

const UIDS: [&str; 2] = ["ada", "bob"];

impl Cluster {
    async fn start(url: &str, directory: &mut Directory) -> Self {
        let (mut servers, mut players) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            servers.push(TestServer::start(Town::node(url, LEASE).drain_timeout(Duration::MAX)).await);
        }
        for (server, uid) in servers.iter().zip(UIDS) {
            directory.count_is(server.address(), Some(0)).await;
            let player = Town::enter_lobby(server.address(), uid).await;
            players.push(player);
        }
        let mut cluster = Self { servers, players };
        cluster.is_right(directory).await;
        cluster
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(TestServer::address).collect()
    }

    /// Waits until the directory knows both nodes and both players, and the players hear each other. Returns how long
    /// each of the two took.
    async fn is_right(&mut self, directory: &mut Directory) -> (Duration, Duration) {
        let begun = Instant::now();
        let mut addresses: Vec<_> = self.addresses().iter().map(ToString::to_string).collect();
        addresses.sort();
        until("both nodes", async || {
            let mut listed = directory.listed().await;
            listed.sort();
            (listed == addresses).then_some(())
        })
        .await;
        for (address, uid) in self.addresses().into_iter().zip(UIDS) {
            directory.count_is(address, Some(1)).await;
            directory.user_is(uid, Some(address.to_string())).await;
        }
        let counted = begun.elapsed();
        let [ada, bob] = &mut self.players[..] else { unreachable!("two players") };
        hear_each_other(ada, bob).await;
        hear_each_other(bob, ada).await;
        (counted, begun.elapsed())
    }

    async fn stop(self) {
        drop(self.players);
        for server in self.servers {
            server.stop().await;
        }
    }
}

/// Sends to the room and to the user until the listener has received both.
async fn hear_each_other(speaker: &mut Client, listener: &mut Client) {
    let (room, user) = (Said::text("to all"), Said::text("to you"));
    let mut heard = Vec::new();
    until("a push from another node", async || {
        speaker.ask(r#"{"method":"say","message":["lobby","to all"],"id":1}"#).await;
        for uid in UIDS {
            speaker.answers_before(format!(r#"{{"method":"tell","message":["{uid}","to you"]}}"#), Town::FENCE).await;
        }
        heard.extend(listener.answers_until(Town::FENCE).await);
        (heard.contains(&room) && heard.contains(&user)).then_some(())
    })
    .await;
    // Reads what was sent more than once.
    listener.answers_until(Town::FENCE).await;
}

/// Sends this many requests, one after another, each with a send to a room and to a user of another node. Returns how
/// long the slowest took.
async fn slowest_of(player: &mut Client, requests: u32) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..requests {
        let begun = Instant::now();
        player.send(r#"{"method":"say","message":["lobby","anyone?"]}"#).await;
        player.send(r#"{"method":"tell","message":["somebody","there?"]}"#).await;
        player.answers_until(Town::FENCE).await;
        slowest = slowest.max(begun.elapsed());
    }
    slowest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_recovers_when_redis_comes_back_empty() {
    let mut redis = RedisServer::start().await;
    let mut cluster = Cluster::start(&redis.url(), &mut redis.directory().await).await;
    redis.kill();
    let away = Instant::now();
    let mut slowest = Duration::ZERO;
    while away.elapsed() < outage() {
        for player in &mut cluster.players {
            slowest = slowest.max(slowest_of(player, 10).await);
        }
    }
    redis.restart().await;
    let (counted, heard) = cluster.is_right(&mut redis.directory().await).await;
    eprintln!("{:?} without Redis: slowest request {slowest:?}", away.elapsed());
    eprintln!(
        "back: counts and claims after {counted:?} (documented limit {:?}); messages after {heard:?}",
        LEASE / 3 + Duration::from_secs(1)
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_of_a_player_waits_for_a_frozen_redis() {
    // If each request waited, it would take 250 ms or more, and all together far more than the limit.
    const REQUESTS: u32 = 500;
    let _turn = heavy_test().await;
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let mut cluster = Cluster::start(&redis.url(), &mut directory).await;
    let proxy_address = cluster.addresses()[0];
    redis.freeze();
    for player in &mut cluster.players {
        within("requests", slowest_of(player, REQUESTS)).await;
    }
    let mut connects = Vec::new();
    within("connects", async {
        for number in 0..REQUESTS {
            let mut client = Town::connect(proxy_address, format!("player{number}")).await;
            client.answers_until(Town::FENCE).await;
            connects.push(client);
        }
    })
    .await;
    // Once the node knows that Redis is away, no join waits either.
    let mut join = async || {
        let answer = connects[0].ask(r#"{"method":"join","message":"lobby","id":1}"#).await;
        connects[0].ask(r#"{"method":"leave","message":"lobby","id":1}"#).await;
        (answer == "1: error unavailable").then_some(())
    };
    until("an answer that Redis is away", &mut join).await;
    within("joins", async {
        for _ in 0..REQUESTS {
            join().await.expect("a bus that is still away");
        }
    })
    .await;
    drop(connects);
    redis.thaw();
    cluster.is_right(&mut directory).await;

    // No drain waits either.
    redis.freeze();
    // The servers have no deadline for a drain, so each ends only because it gives up on Redis.
    drop(cluster.players);
    for server in cluster.servers {
        server.stop().await;
    }
    redis.thaw();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_node_is_reaped_because_redis_was_away() {
    let rows = [("longer than the lease", 2 * LEASE), ("not quite the lease", LEASE * 8 / 10)];
    every_row(rows, async |away| {
        for is_frozen in [true, false] {
            let redis = RedisServer::start().await;
            let mut directory = redis.directory().await;
            let proxy = Proxy::start(redis.port()).await;
            let mut cluster = Cluster::start(&proxy.url(), &mut directory).await;
            let mut started = Vec::new();
            for address in cluster.addresses() {
                started.push(directory.node(address, "started").await);
            }
            if is_frozen {
                redis.freeze();
                sleep(away).await;
                redis.thaw();
            } else {
                proxy.set(Network::Stalled);
                sleep(away).await;
                proxy.set(Network::Good);
            }
            // A node that was reaped joins again, with a new start time. Each node has two leases of time to reap
            // another.
            let thawed = Instant::now();
            while thawed.elapsed() < 2 * LEASE {
                for (address, started) in cluster.addresses().into_iter().zip(&started) {
                    assert_eq!(directory.node(address, "started").await, *started, "it was reaped");
                }
                sleep(Duration::from_millis(20)).await;
            }
            cluster.is_right(&mut directory).await;
            cluster.stop().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_returns_later_is_not_reaped() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let proxies = [Proxy::start(redis.port()).await, Proxy::start(redis.port()).await];
    let mut servers = Vec::new();
    for proxy in &proxies {
        let server = TestServer::start(Town::node(&proxy.url(), LEASE)).await;
        directory.count_is(server.address(), Some(0)).await;
        servers.push(server);
    }
    let started = directory.node(servers[1].address(), "started").await;
    for proxy in &proxies {
        proxy.set(Network::Stalled);
    }
    sleep(2 * LEASE).await;
    proxies[0].set(Network::Good);
    directory.heard_of(servers[0].address(), 1).await;
    proxies[1].set(Network::Good);
    directory.heard_of(servers[1].address(), 3).await;
    assert_eq!(directory.node(servers[1].address(), "started").await, started, "it was reaped");
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_recovers_each_time_redis_is_emptied() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let mut cluster = Cluster::start(&redis.url(), &mut directory).await;
    let coming = Arc::new(AtomicBool::new(true));
    let crowd: Vec<_> = (0..8)
        .map(|number| {
            let (address, coming) = (cluster.addresses()[number % 2], Arc::clone(&coming));
            tokio::spawn(async move {
                while coming.load(Ordering::SeqCst) {
                    let mut client = Town::connect(address, format!("player{number}")).await;
                    client.answers_until(Town::FENCE).await;
                    client.close(1000).await;
                }
                Town::connect(address, format!("player{number}")).await
            })
        })
        .collect();
    for _ in 0..5 {
        redis::cmd("FLUSHALL").exec_async(&mut directory.redis).await.unwrap();
        let listed = async || (directory.listed().await.len() == 2).then_some(());
        until("both nodes again", listed).await;
    }
    coming.store(false, Ordering::SeqCst);
    let mut stayed = Vec::new();
    for client in crowd {
        stayed.push(client.await.unwrap());
    }
    for address in cluster.addresses() {
        directory.count_is(address, Some(5)).await;
    }
    for number in 0..8 {
        let address = cluster.addresses()[number % 2].to_string();
        directory.user_is(&format!("player{number}"), Some(address)).await;
    }
    for (number, client) in stayed.iter_mut().enumerate() {
        assert!(client.answers_until(Town::FENCE).await.is_empty(), "of player {number}");
    }
    drop(stayed);
    for address in cluster.addresses() {
        directory.count_is(address, Some(1)).await;
    }
    cluster.is_right(&mut directory).await;
    cluster.stop().await;
    assert_eq!(directory.keys().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_recovers_from_a_bad_network_to_redis() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let proxy = Proxy::start(redis.port()).await;
    let mut cluster = Cluster::start(&proxy.url(), &mut directory).await;
    for _ in 0..5 {
        proxy.reset();
        for player in &mut cluster.players {
            slowest_of(player, 10).await;
        }
        cluster.is_right(&mut directory).await;
    }
    proxy.set(Network::Slow(Duration::from_millis(100)));
    for player in &mut cluster.players {
        slowest_of(player, 10).await;
    }
    cluster.is_right(&mut directory).await;
    proxy.set(Network::Refused);
    sleep(outage().min(2 * LEASE)).await;
    // A user who has left meanwhile has no claim any more, and one who has come has one.
    let [ada, _] = &mut cluster.players[..] else { unreachable!("two players") };
    ada.close(1000).await;
    let address = cluster.addresses()[0];
    let mut ada = Town::connect(address, "ada").await;
    assert_eq!(ada.ask(r#"{"method":"join","message":"lobby","id":1}"#).await, "1: error unavailable");
    cluster.players[0] = ada;
    proxy.set(Network::Good);
    cluster.is_right(&mut directory).await;
    cluster.stop().await;
    assert_eq!(directory.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_node_that_hears_nothing_over_the_bus_connects_again() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let proxy = Proxy::start(redis.port()).await;
    let mut cluster = Cluster::start(&proxy.url(), &mut directory).await;
    // The nodes can still publish, and nothing tells them that what others publish does not come.
    proxy.lose_subscribers();
    cluster.is_right(&mut directory).await;
    cluster.stop().await;
    assert_eq!(directory.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_node_takes_back_its_address_if_redis_comes_back_with_old_data() {
    let folder = Folder::new();
    let mut redis = RedisServer::start_with(&["--dir", &folder.to_string_lossy()]).await;
    let address = free_address().to_string();
    let node = || {
        let cluster = Redis::new(redis.url()).lease(LEASE).advertise(&address);
        Server::new(Town).cluster(cluster)
    };
    let (earlier, later) = (node(), node());
    let mut directory = redis.directory().await;
    let earlier = TestServer::start(earlier).await;
    directory.count_is(&address, Some(0)).await;
    let before = directory.node(&address, "boot").await;
    redis::cmd("SAVE").exec_async(&mut directory.redis).await.unwrap();
    earlier.stop().await;
    let later = TestServer::start(later).await;
    directory.count_is(&address, Some(0)).await;
    let after = directory.node(&address, "boot").await;
    let player = Town::connect(later.address(), "ada").await;
    directory.count_is(&address, Some(1)).await;
    assert_ne!(after, before);

    redis.restart().await;
    let mut directory = redis.directory().await;
    until("the later process", async || (directory.node(&address, "boot").await == after).then_some(())).await;
    directory.user_is("ada", Some(address.clone())).await;
    assert_eq!(directory.listed().await, [address]);
    drop(player);
    later.stop().await;
}
