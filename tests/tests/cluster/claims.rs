//! A user has one connection in the whole cluster, the newest, and every node can reach it.
//!
//! `KENGINE_CLUSTER_ROUNDS` sets the number of rounds of all users together; `.ci/long` sets more than the default.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use kengine::{CloseCode, Duplicates, Hub};
use kengine_tests::{Client, Directory, Network, Proxy, RedisServer, Said, TestServer, Town, heavy_test, until};
use tokio::{join, time::timeout};

const NODES: usize = 3;
/// The number of users that compete at the same time.
const USERS: usize = 8;
const LEASE: Duration = Duration::from_millis(1500);

fn rounds_per_user() -> usize {
    let rounds: usize =
        std::env::var("KENGINE_CLUSTER_ROUNDS").map_or(1000, |rounds| rounds.parse().expect("a number"));
    rounds / USERS
}

/// Makes every node send to a user and checks that all of it arrives.
async fn is_reached(client: &mut Client, uid: &str, hubs: &[Hub], round: usize) {
    for (number, hub) in hubs.iter().enumerate() {
        let text = format!("{round} from {number}");
        hub.user(uid).send(&Said(text.clone())).expect("a bus that works");
        assert_eq!(client.next().await, Said::text(&text), "to {uid}");
    }
}

/// Runs one user's rounds: two connections to two nodes, one after the other or at the same time. Returns how long it
/// took each time until the older was closed.
async fn compete(
    user: usize,
    mut directory: Directory,
    addresses: [SocketAddr; NODES],
    hubs: Vec<Hub>,
) -> Vec<Duration> {
    let mut took = Vec::new();
    for round in 0..rounds_per_user() {
        // Each round has its own uid, so that it does not see the claim of the round before.
        let uid = format!("user{user}-{round}");
        let [one, other] = [addresses[round % NODES], addresses[(round + 1) % NODES]];
        let (mut older, mut newer);
        if round % 2 == 0 {
            older = Town::connect(one, &uid).await;
            directory.user_is(&uid, Some(one.to_string())).await;
            newer = Town::connect(other, &uid).await;
            let connected = Instant::now();
            assert_eq!(older.next().await, "close 4500", "of {uid}, in round {round}");
            took.push(connected.elapsed());
        } else {
            (older, newer) = join!(Town::connect(one, &uid), Town::connect(other, &uid));
            // The directory decides which of the two is the older.
            tokio::select! {
                close = older.next() => assert_eq!(close, "close 4500"),
                close = newer.next() => {
                    assert_eq!(close, "close 4500");
                    std::mem::swap(&mut older, &mut newer);
                }
            }
        }
        is_reached(&mut newer, &uid, &hubs, round).await;
        // The end of the older connection takes nothing away from the newer.
        assert_eq!(older.next().await, "the end");
        is_reached(&mut newer, &uid, &hubs, round).await;
        newer.close(1000).await;
    }
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_older_connection_closes_and_the_newer_is_reached() {
    let _turn = heavy_test().await;
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let mut servers = Vec::new();
    for _ in 0..NODES {
        let server = redis.serve(Town::node(&redis.url(), Duration::from_secs(6))).await;
        servers.push(server);
    }
    let addresses = [0, 1, 2].map(|at: usize| servers[at].address());
    let hubs: Vec<_> = servers.iter().map(|server| server.hub().clone()).collect();
    let users = (0..USERS).map(|user| compete(user, directory.clone(), addresses, hubs.clone()));
    let mut took = join_all(users).await.concat();
    took.sort();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    eprintln!("{USERS} users with {} rounds each", rounds_per_user());
    eprintln!("{} times until 4500: p50 {:?}, p99 {:?}, most {:?}", took.len(), at(50), at(99), at(100));
    for server in servers {
        let address = server.address();
        directory.count_is(address, Some(0)).await;
        server.stop().await;
    }
    assert_eq!(directory.keys().await, [""; 0]);
}

/// A kick from another node, while the directory does not know yet that the user has come.
#[tokio::test]
async fn a_kick_finds_a_user_who_has_just_come() {
    let redis = RedisServer::start().await;
    let (one, other) =
        (redis.serve(Town::node(&redis.url(), LEASE)).await, redis.serve(Town::node(&redis.url(), LEASE)).await);
    for round in 0..10 {
        let uid = format!("user{round}");
        let kick = || one.hub().user(&*uid).kick(CloseCode::KICKED);
        let mut older = None;
        if round % 2 == 1 {
            // The node that kicks has a connection of the user itself, and does not know yet that it is the older one.
            older = Some(Town::connect(one.address(), &uid).await);
        }
        let mut newer = Town::connect(other.address(), &uid).await;
        assert!(newer.answers_until(Town::FENCE).await.is_empty());
        assert!(kick() <= 1);
        assert_eq!(newer.next().await, "close 4501", "round {round}");
        if let Some(mut older) = older {
            let close = older.next().await;
            assert!(["close 4500", "close 4501"].contains(&&*close), "round {round}: {close}");
        }
    }
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn with_refuse_the_older_connection_stays() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let node = || Town::node(&redis.url(), LEASE).duplicates(Duplicates::Refuse);
    let (one, other) = (TestServer::start(node()).await, TestServer::start(node()).await);
    for server in [&one, &other] {
        directory.count_is(server.address(), Some(0)).await;
    }
    let mut older = Town::connect(one.address(), "ada").await;
    directory.user_is("ada", Some(one.address().to_string())).await;
    let mut newer = Town::connect(other.address(), "ada").await;
    assert_eq!(newer.next().await, "close 4503");
    drop(newer);
    assert!(older.answers_until(Town::FENCE).await.is_empty(), "the older connection got something");
    // A user who comes back at once to the node that they just left is not refused because of the earlier connection.
    older.close(1000).await;
    let mut again = Town::connect(one.address(), "ada").await;
    assert!(again.answers_until(Town::FENCE).await.is_empty());
    again.close(1000).await;
    directory.user_is("ada", None).await;
    let mut newer = Town::connect(other.address(), "ada").await;
    directory.user_is("ada", Some(other.address().to_string())).await;
    assert!(newer.answers_until(Town::FENCE).await.is_empty());
    newer.close(1000).await;
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn the_newest_claim_wins_after_a_node_was_cut_off() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let proxy = Proxy::start(redis.port()).await;
    let cut_off = TestServer::start(Town::node(&proxy.url(), LEASE)).await;
    let other = TestServer::start(Town::node(&redis.url(), LEASE)).await;
    for server in [&cut_off, &other] {
        directory.count_is(server.address(), Some(0)).await;
    }
    let mut older = Town::connect(cut_off.address(), "ada").await;
    let mut bob = Town::connect(cut_off.address(), "bob").await;
    for uid in ["ada", "bob"] {
        directory.user_is(uid, Some(cut_off.address().to_string())).await;
    }
    proxy.set(Network::Stalled);
    let mut newer = Town::connect(other.address(), "ada").await;
    directory.user_is("ada", Some(other.address().to_string())).await;
    assert!(older.answers_until(Town::FENCE).await.is_empty(), "the node that was cut off closed the older connection");
    // A user who came to the node that was cut off meanwhile has the newer claim there.
    let mut earlier = Town::connect(other.address(), "eve").await;
    directory.user_is("eve", Some(other.address().to_string())).await;
    let mut later = Town::connect(cut_off.address(), "eve").await;
    // After a flush, too, the later claim wins, whichever node makes it first.
    redis::cmd("FLUSHALL").exec_async(&mut directory.redis).await.unwrap();
    proxy.set(Network::Good);
    assert_eq!(older.next().await, "close 4500");
    assert_eq!(earlier.next().await, "close 4500");
    for (uid, server) in [("ada", &other), ("eve", &cut_off), ("bob", &cut_off)] {
        directory.user_is(uid, Some(server.address().to_string())).await;
    }
    for player in [&mut newer, &mut later, &mut bob] {
        assert!(player.answers_until(Town::FENCE).await.is_empty());
    }
    drop((older, newer, earlier, later, bob));
    cut_off.stop().await;
    other.stop().await;
}

/// A node is told over the bus that one of its connections has lost its uid. If it is not on the bus at that moment, it
/// must find out when it is back.
#[tokio::test]
async fn a_newer_claim_made_while_a_node_was_off_the_bus_wins() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let allow = async |directory: &mut Directory, channels: &str| {
        let mut rules = redis::cmd("ACL");
        rules.arg("SETUSER").arg("node").arg("on").arg(">secret").arg("~*").arg("+@all").arg(channels);
        rules.exec_async(&mut directory.redis).await.expect("an ACL user");
    };
    allow(&mut directory, "allchannels").await;
    let url = format!("redis://node:secret@127.0.0.1:{}/", redis.port());
    let off_the_bus = redis.serve(Town::node(&url, LEASE)).await;
    let other = redis.serve(Town::node(&redis.url(), LEASE)).await;
    let on_the_bus = async |directory: &mut Directory, nodes: usize| {
        until("nodes on the bus", async || {
            let mut channels = redis::cmd("PUBSUB");
            channels.arg("CHANNELS").arg("kengine:bus:node:*");
            let channels: Vec<String> = channels.query_async(&mut directory.redis).await.expect("channels");
            (channels.len() == nodes).then_some(())
        })
        .await;
    };
    on_the_bus(&mut directory, 2).await;
    let mut older = Town::connect(off_the_bus.address(), "ada").await;
    let mut bob = Town::connect(off_the_bus.address(), "bob").await;
    for uid in ["ada", "bob"] {
        directory.user_is(uid, Some(off_the_bus.address().to_string())).await;
    }
    // Redis disconnects subscribers that lose the permission, and refuses them. The directory stays connected.
    allow(&mut directory, "resetchannels").await;
    on_the_bus(&mut directory, 1).await;
    let mut newer = Town::connect(other.address(), "ada").await;
    directory.user_is("ada", Some(other.address().to_string())).await;
    assert!(older.answers_until(Town::FENCE).await.is_empty(), "it cannot know of the newer connection yet");
    allow(&mut directory, "allchannels").await;
    assert_eq!(older.next().await, "close 4500");
    for player in [&mut newer, &mut bob] {
        assert!(player.answers_until(Town::FENCE).await.is_empty());
    }
    directory.user_is("ada", Some(other.address().to_string())).await;
    drop((older, newer, bob));
    off_the_bus.stop().await;
    other.stop().await;
}

/// Waits until the directory knows where a user is, while answers do not arrive; then resets the connection to Redis,
/// so that the answer is lost.
async fn unanswered(directory: &mut Directory, proxy: &Proxy, uid: &str, is_at: Option<String>) {
    // This happens soon, unless the node still waits for an earlier answer.
    let _ = timeout(Duration::from_millis(300), directory.user_is(uid, is_at.clone())).await;
    proxy.set(Network::Good);
    proxy.reset();
    directory.user_is(uid, is_at).await;
}

#[tokio::test]
async fn an_unanswered_claim_or_release_is_done_once() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let proxy = Proxy::start(redis.port()).await;
    let slow = TestServer::start(Town::node(&proxy.url(), LEASE)).await;
    let other = TestServer::start(Town::node(&redis.url(), LEASE)).await;
    for server in [&slow, &other] {
        directory.count_is(server.address(), Some(0)).await;
    }
    for round in 0..3 {
        let uid = format!("user{round}");
        let mut older = Town::connect(other.address(), &uid).await;
        directory.user_is(&uid, Some(other.address().to_string())).await;
        proxy.set(Network::Mute);
        let newer = Town::connect(slow.address(), &uid).await;
        unanswered(&mut directory, &proxy, &uid, Some(slow.address().to_string())).await;
        assert_eq!(older.next().await, "close 4500");
        proxy.set(Network::Mute);
        drop(newer);
        unanswered(&mut directory, &proxy, &uid, None).await;
    }
    directory.count_is(slow.address(), Some(0)).await;
    until("both nodes", async || (directory.listed().await.len() == 2).then_some(())).await;
    slow.stop().await;
    other.stop().await;
}
