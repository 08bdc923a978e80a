//! Nodes drain, one or all in turn, while players come and go through the gateway. No player stays on a drained node,
//! no request that was read is left unanswered, and no node leaves keys in the directory.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use kengine_tests::{
    Audit, ClientFrame, GatewayClient, NodeProcess, RawClient, RedisServer, TestGateway, TestServer, Town, Upgrade,
    free_address, heavy_test, segment, until,
};
use redis::AsyncCommands;
use tokio::{sync::watch, time::interval};

const NODE: &str = env!("CARGO_BIN_EXE_node");
/// Long enough for a node on a busy machine to renew it in time.
const LEASE: Duration = Duration::from_secs(6);

#[tokio::test]
async fn a_draining_node_gets_no_players() {
    const PLAYERS: usize = 40;
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let mut draining = TestServer::start(Town::node(&redis.url(), LEASE)).await;
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let node = TestServer::start(Town::node(&redis.url(), LEASE)).await;
        directory.count_is(node.address(), Some(0)).await;
        nodes.push(node);
    }
    let gateway = TestGateway::start(&redis.url()).await;
    let audit = Audit::start(&redis);
    // All nodes but the draining one have load. Its client does not answer the close frame, so the node cannot end.
    let crowd = nodes.iter().map(|node| RawClient::connect(node.address()));
    let _crowd = (join_all(crowd).await, RawClient::connect(draining.address()).await);
    directory.count_is(draining.address(), Some(1)).await;
    draining.shut_down();
    until("the drain", async || (directory.listed().await.len() == nodes.len()).then_some(())).await;
    for number in 0..PLAYERS {
        GatewayClient::connect(gateway.address(), &format!("?uid={number}")).await;
    }
    let sent_to = gateway.sent_to(PLAYERS).await;
    let draining = draining.address().to_string();
    assert!(sent_to.iter().all(|nodes| !nodes.contains(&draining)), "{draining} is among {sent_to:?}");
    audit.passed().await;
}

/// The gateway and the counts of all players together.
#[derive(Debug)]
struct Crowd {
    gateway: SocketAddr,
    /// How many times a player has connected.
    came: AtomicUsize,
    sent_away: AtomicUsize,
    /// How many requests were answered.
    answered: AtomicUsize,
}

/// How a player's visit ended.
#[derive(Debug)]
enum Stay {
    /// The test is over and the player is still connected.
    Lasting(RawClient),
    Left,
    SentAway,
}

impl Crowd {
    const PACE: Duration = Duration::from_millis(50);

    /// Simulates players one after another until the test is over: each stays for a while and leaves; after a close by
    /// the node, the next one comes. Returns the last connection.
    async fn player(&self, number: usize, mut over: watch::Receiver<bool>) -> RawClient {
        for visit in 0.. {
            // The players leave at different times.
            let batches = 10 + (number * 7 + visit * 13) % 20;
            match self.stay(&format!("{number}-{visit}"), batches, &mut over).await {
                Stay::Lasting(client) => return client,
                Stay::Left => {}
                Stay::SentAway => _ = self.sent_away.fetch_add(1, Ordering::Relaxed),
            }
        }
        unreachable!("numbers do not end")
    }

    /// Connects and sends this many batches of requests. Checks that the answers come in order, and that before a close
    /// every request was answered whose batch the node has read, as the pong after the batch proves.
    async fn stay(&self, uid: &str, batches: usize, over: &mut watch::Receiver<bool>) -> Stay {
        let upgrade = Upgrade::new(self.gateway).path(format!("/ws?uid={uid}"));
        let mut client = upgrade.open(self.gateway).await;
        self.came.fetch_add(1, Ordering::Relaxed);
        let mut pace = interval(Self::PACE);
        let (mut asked, mut answered, mut read) = (0, 0, 0);
        for _ in 0..batches {
            if *over.borrow() {
                return Stay::Lasting(client);
            }
            pace.tick().await;
            let mut request = |route: &str| {
                asked += 1;
                ClientFrame::text(format!(r#"{{"method":"{route}","message":"lobby","id":{asked}}}"#))
            };
            let requests = [request("who"), request("process"), request("who")];
            let ping = ClientFrame::ping(asked.to_string());
            client.try_send(segment(requests.into_iter().chain([ping]))).await;
            while answered < asked || read < asked {
                let frame = client.frame().await;
                if let Some(pong) = frame.strip_prefix("pong \"").and_then(|pong| pong.strip_suffix('"')) {
                    read = pong.parse().expect("a number");
                } else if frame == "close 4000" {
                    assert!(answered >= read, "of {read} requests that were read {answered} were answered");
                    client.try_send(ClientFrame::close(4000, "").bytes()).await;
                    assert!(client.next().await.is_err(), "a frame came after the close frame");
                    return Stay::SentAway;
                } else {
                    answered += 1;
                    assert!(frame.starts_with(&format!("{answered}: ")), "not the answer to {answered}: {frame}");
                    self.answered.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        client.try_send(ClientFrame::close(1000, "").bytes()).await;
        match client.frame().await.as_str() {
            "close 1000" => Stay::Left,
            "close 4000" => Stay::SentAway,
            other => panic!("not a close: {other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_loses_no_request_and_leaves_no_key() {
    const NODES: usize = 4;
    const PLAYERS: usize = 200;
    let _turn = heavy_test().await;
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        let node = NodeProcess::start(NODE, free_address(), &redis.url(), LEASE).await;
        directory.count_is(node.address(), Some(0)).await;
        nodes.push(node);
    }
    let gateway = TestGateway::start(&redis.url()).await;
    let audit = Audit::start(&redis);
    let crowd = Arc::new(Crowd {
        gateway: gateway.address(),
        came: AtomicUsize::new(0),
        sent_away: AtomicUsize::new(0),
        answered: AtomicUsize::new(0),
    });
    let (over, told) = watch::channel(false);
    let players: Vec<_> = (0..PLAYERS)
        .map(|number| {
            let (crowd, told) = (Arc::clone(&crowd), told.clone());
            tokio::spawn(async move { crowd.player(number, told).await })
        })
        .collect();
    let come = async |more: usize| {
        let expected = crowd.came.load(Ordering::Relaxed) + more;
        until("players", async || (crowd.came.load(Ordering::Relaxed) >= expected).then_some(())).await;
    };
    come(2 * PLAYERS).await;
    for _ in 0..NODES {
        let node = nodes.remove(0);
        let address = node.address();
        node.terminate();
        node.ended().await;
        nodes.push(NodeProcess::start(NODE, address, &redis.url(), LEASE).await);
        let address = address.to_string();
        until("a node in the list", async || directory.listed().await.contains(&address).then_some(())).await;
        // The new node gets some players.
        come(PLAYERS / 2).await;
    }
    // On average, every player has been replaced three times since the last restart.
    come(3 * PLAYERS).await;
    over.send_replace(true);

    let mut loads: HashMap<_, usize> = HashMap::new();
    let mut clients = Vec::new();
    for player in players {
        let mut client = player.await.expect("a player who is served well");
        let process = client.ask(r#"{"method":"process","id":"where"}"#).await;
        *loads.entry(process).or_default() += 1;
        clients.push(client);
    }
    let sent_away = crowd.sent_away.load(Ordering::Relaxed);
    assert!(sent_away > 0, "no player was there when the nodes drained");
    let pids: Vec<_> = nodes.iter().map(|node| format!("\"where\": {}", node.pid())).collect();
    assert!(loads.keys().all(|process| pids.contains(process)), "{loads:?} has processes other than {pids:?}");
    let share = PLAYERS / NODES;
    assert!(loads.values().all(|load| load.abs_diff(share) * 10 <= share), "{loads:?} of {PLAYERS} players");
    let mut leased: Vec<String> = directory.redis.hkeys("{kengine}:lease").await.unwrap();
    let mut addresses: Vec<_> = nodes.iter().map(|node| node.address().to_string()).collect();
    leased.sort();
    addresses.sort();
    assert_eq!(leased, addresses, "a node is missing or left over");
    for node in &nodes {
        let load = loads[&format!("\"where\": {}", node.pid())];
        directory.count_is(node.address(), Some(load)).await;
    }

    drop(clients);
    for node in nodes {
        node.terminate();
        node.ended().await;
    }
    assert_eq!(directory.keys().await, [""; 0]);
    let snapshots = audit.passed().await;
    eprintln!("{crowd:?}; {loads:?}; {snapshots} snapshots");
}
