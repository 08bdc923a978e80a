//! Nodes of a gateway fail, and it still finds a node for every player who comes.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use kengine::{Handshake, Refusal, Server, cluster::Redis, cluster::gateway::Gateway};
use kengine_tests::{
    Audit, Directory, Doorkeeper, GatewayClient, LIMIT, NodeProcess, RawClient, RedisServer, TestGateway, TestServer,
    Town, Upgrade, every_row, heavy_test, until, within,
};
use redis::AsyncCommands;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
    time::interval,
};

const NODE: &str = env!("CARGO_BIN_EXE_node");
/// Long enough for a node on a busy machine to renew it in time.
const LEASE: Duration = Duration::from_secs(6);

/// Starts nodes with these leases in their own processes; returns when they are in the directory.
async fn start(redis: &RedisServer, leases: &[Duration]) -> Vec<NodeProcess> {
    let mut nodes = Vec::new();
    for lease in leases {
        nodes.push(redis.spawn_node(NODE, *lease).await);
    }
    nodes
}

/// Connects 3,000 players at 500 a second. After half of them, `victims` of four nodes are killed; later they start
/// again.
async fn a_crowd_comes_while_nodes_are_killed(victims: usize) {
    const PLAYERS: usize = 3000;
    /// Half of a node's share of the players who come before the kill.
    const FEWEST: usize = PLAYERS / 16;
    let _turn = heavy_test().await;
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let mut nodes = start(&redis, &[LEASE; 4]).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let audit = Audit::start(&redis);
    let mut killed = nodes.split_off(4 - victims);
    let mut pace = interval(Duration::from_millis(2));
    let mut connecting = Vec::new();
    for number in 0..PLAYERS {
        pace.tick().await;
        if number == PLAYERS / 2 {
            for node in &killed {
                until("players", async || (directory.count(node.address()).await? >= FEWEST).then_some(())).await;
            }
            killed.iter_mut().for_each(NodeProcess::kill);
        } else if number == PLAYERS * 3 / 4 {
            for node in &killed {
                nodes.push(NodeProcess::start(NODE, node.address(), &redis.url(), LEASE).await);
            }
        }
        let (address, query) = (gateway.address(), format!("?uid={number}"));
        connecting.push(tokio::spawn(async move { GatewayClient::connect(address, &query).await }));
    }
    let living: Vec<_> = nodes.iter().map(NodeProcess::pid).collect();
    let mut lost = 0;
    let mut clients = Vec::new();
    for (number, connecting) in connecting.into_iter().enumerate() {
        let client = connecting.await.expect("a connection");
        if client.process.is_some_and(|process| living.contains(&process)) {
            clients.push(client);
        } else {
            // Only players who came before the kill may have been on a killed node.
            assert!(number < PLAYERS / 2, "player {number} came to a node that had been killed");
            lost += 1;
        }
    }
    for client in &mut clients {
        assert!(client.is_alive().await, "a connection to a living node has ended");
    }
    assert!(lost >= victims * FEWEST, "only {lost} players were on the killed nodes");
    // The nodes that came back get players too, once the gateway no longer avoids them.
    until("players at every node", async || {
        clients.push(GatewayClient::connect(gateway.address(), "").await);
        let has = |node: &NodeProcess| clients.iter().any(|client| client.process == Some(node.pid()));
        nodes.iter().all(has).then_some(())
    })
    .await;
    eprintln!("{lost} of {PLAYERS} players were on {victims} killed nodes; {} snapshots", audit.passed().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_connect_succeeds_while_one_of_four_nodes_is_killed() {
    a_crowd_comes_while_nodes_are_killed(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_connect_succeeds_while_two_of_four_nodes_are_killed() {
    a_crowd_comes_while_nodes_are_killed(2).await;
}

/// An entry in the directory with a listener that is not a node.
struct Impostor {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Impostor {
    /// Answers every connection with these bytes and then ends it.
    async fn start(directory: &mut Directory, answer: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                // Reads the request before an answer; without an answer, the connection ends at once.
                let mut request = [0; 4096];
                if !answer.is_empty() && stream.read(&mut request).await.is_ok() {
                    let _ = stream.write_all(answer).await;
                }
            }
        });
        let address_there = address.to_string();
        let node = [("boot", "0"), ("state", "ready"), ("capacity", "1000")];
        redis::pipe()
            .atomic()
            .set(&address_there, 0)
            .zadd("{kengine}:load", &address_there, 0)
            .hset("{kengine}:lease", &address_there, i64::MAX / 1000)
            .hset_multiple(format!("{{kengine}}:node:{address}"), &node)
            .rpush("NODE_HOST_LIST", &address_there)
            .exec_async(&mut directory.redis)
            .await
            .expect("a node in the directory");
        Self { address, asked, serving }
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The answer of a node that takes no players.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nX-Accel-Redirect: @again\r\n\
    Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

/// A dispatcher that refuses every client with the status in the query.
struct Closed {
    asked: Arc<AtomicUsize>,
}

#[kengine::dispatcher]
impl Closed {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<(), Refusal> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let status = handshake.query("status").and_then(|status| status.parse().ok()).expect("a status");
        Err(Refusal::new(status, "closed", "come back later").header("Retry-After", 7).header("X-Queue", "12"))
    }

    #[route]
    async fn never(&self) {}
}

/// Starts a node that refuses every client; returns it with the count of its refusals.
async fn closed(redis: &RedisServer) -> (TestServer, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let dispatcher = Closed { asked: Arc::clone(&asked) };
    (redis.serve(Server::new(dispatcher).cluster(Redis::new(redis.url()))).await, asked)
}

/// Ways to fail: a name, and what the node answers.
const FAILURES: [(&str, &[u8]); 3] =
    [("a full node", FULL), ("half an answer", b"HTTP/1.1 101 Switch"), ("a reset", b"")];

/// A gateway whose nodes are one that works and any number that fail.
struct FailingNodes {
    directory: Directory,
    working: TestServer,
    gateway: TestGateway,
    audit: Audit,
    clients: Vec<GatewayClient>,
    _redis: RedisServer,
}

impl FailingNodes {
    /// Starts them; `before` may change the directory before the gateway starts.
    async fn start<T>(before: impl AsyncFnOnce(&mut Directory) -> T) -> (Self, T) {
        let redis = RedisServer::start().await;
        let mut directory = redis.directory().await;
        let working = TestServer::start(Town::node(&redis.url(), LEASE)).await;
        directory.count_is(working.address(), Some(0)).await;
        let changed = before(&mut directory).await;
        let gateway = TestGateway::start(&redis.url()).await;
        let audit = Audit::start(&redis);
        (Self { directory, working, gateway, audit, clients: Vec::new(), _redis: redis }, changed)
    }

    /// Connects players while a failing node has the lowest load; all must be served by the node that works. Checks how
    /// often the failing node was asked.
    async fn all_come_to_another(&mut self, failing: &Impostor) {
        let begun = Instant::now();
        for _ in 0..50 {
            let uid = format!("?uid={}", self.clients.len());
            self.clients.push(GatewayClient::connect(self.gateway.address(), &uid).await);
        }
        let took = begun.elapsed();
        assert_eq!(self.working.hub().connections(), self.clients.len());
        // The failing node may be asked once in two seconds; one more is allowed for an inexact clock.
        let most = 2 + usize::try_from(took.as_secs()).expect("seconds");
        let asked = failing.asked.load(Ordering::SeqCst);
        assert!((1..=most).contains(&asked), "the failing node was asked {asked} times within {took:?}");
        let reserved = format!("{{kengine}}:reserved:{}", failing.address);
        let reserved: usize = self.directory.redis.zcard(reserved).await.expect("reservations");
        assert_eq!(reserved, 0, "seats are reserved for players who went to another node");
    }
}

#[tokio::test]
async fn a_failing_node_gets_no_players_and_few_attempts() {
    every_row(FAILURES, async |answer| {
        let start = FailingNodes::start(async |directory| Impostor::start(directory, answer).await);
        let (mut nodes, failing) = start.await;
        nodes.all_come_to_another(&failing).await;
        nodes.audit.passed().await;
    })
    .await;
}

/// The gateway reads the nodes only once a second, so it does not know yet that most of these have joined.
#[tokio::test]
async fn a_node_that_fails_right_after_it_joined_gets_no_players_and_few_attempts() {
    every_row(FAILURES, async |answer| {
        let (mut nodes, ()) = FailingNodes::start(async |_| ()).await;
        for _ in 0..4 {
            let failing = Impostor::start(&mut nodes.directory, answer).await;
            nodes.all_come_to_another(&failing).await;
        }
        nodes.audit.passed().await;
    })
    .await;
}

#[tokio::test]
async fn a_refusal_by_accept_is_passed_on_and_is_no_failure_of_the_node() {
    let redis = RedisServer::start().await;
    let (refusing, asked) = closed(&redis).await;
    // Another node would take the players, but has a higher load.
    let other = redis.serve(Town::node(&redis.url(), LEASE)).await;
    let _crowd = join_all((0..20).map(|_| RawClient::connect(other.address()))).await;
    redis.directory().await.count_is(other.address(), Some(20)).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let audit = Audit::start(&redis);
    for status in [400, 401, 403, 404, 409, 421, 429, 500, 502, 503, 504, 599, 503] {
        let ask = async |address| {
            let before = asked.load(Ordering::SeqCst);
            let refused = Upgrade::new(address).path(format!("/ws?status={status}")).ask(address).await;
            assert_eq!(refused.error_code(), "closed");
            assert_eq!(asked.load(Ordering::SeqCst), before + 1, "requests to the node for one by a client");
            let fields = ["retry-after", "x-queue", "content-type"];
            (refused.status, fields.map(|name| refused.field(name).map(str::to_owned)), refused.body)
        };
        let from_node = ask(refusing.address()).await;
        assert_eq!(from_node.0, status);
        assert_eq!(ask(gateway.address()).await, from_node);
    }
    audit.passed().await;
}

#[tokio::test]
async fn a_player_who_waits_for_accept_at_a_draining_node_comes_to_another() {
    let redis = RedisServer::start().await;
    let doorkeeper = Doorkeeper::default();
    let server = Server::new(doorkeeper.clone()).cluster(Redis::new(redis.url())).handshake_timeout(LIMIT);
    let mut draining = redis.serve(server).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let address = gateway.address();
    let asked = tokio::spawn(async move { Upgrade::new(address).ask(address).await });
    doorkeeper.gate.arrived(1).await;
    let other = redis.serve(Town::node(&redis.url(), LEASE)).await;
    draining.shut_down();
    until("the drain", async || (redis.directory().await.listed().await.len() == 1).then_some(())).await;
    doorkeeper.gate.open(1);
    let answer = asked.await.expect("an answer");
    assert_eq!((answer.status, answer.field("content-type")), (101, None));
    assert_eq!(gateway.sent_to(1).await, [format!("{} : {}", draining.address(), other.address())]);
}

#[tokio::test]
async fn a_player_gets_503_until_a_node_takes_players() {
    let redis = RedisServer::start().await;
    let gateway = TestGateway::start(&redis.url()).await;
    let upgrade = Upgrade::new(gateway.address());
    let mut impostors = Vec::new();
    for _ in 0..6 {
        let refused = upgrade.ask(gateway.address()).await;
        assert_eq!((refused.status, refused.error_code().as_str()), (503, "no_node"));
        assert!(refused.field("retry-after").is_some(), "{refused:?}");
        impostors.push(Impostor::start(&mut redis.directory().await, FULL).await);
    }
    let asked = || impostors.iter().map(|impostor| impostor.asked.load(Ordering::SeqCst)).sum::<usize>();
    let before = asked();
    assert_eq!(upgrade.ask(gateway.address()).await.status, 503);
    assert!((1..=4).contains(&(asked() - before)), "one request asks four nodes at most");
    let node = TestServer::start(Town::node(&redis.url(), LEASE)).await;
    redis.directory().await.count_is(node.address(), Some(0)).await;
    GatewayClient::connect(gateway.address(), "").await;
}

#[tokio::test]
async fn a_frozen_node_is_not_picked_after_its_lease() {
    const PLAYERS: usize = 40;
    let redis = RedisServer::start().await;
    // The other nodes send no heartbeat during the test, so that they do not reap the first.
    let nodes = start(&redis, &[Duration::from_millis(900), LIMIT * 4, LIMIT * 4]).await;
    let [still, living @ ..] = &nodes[..] else { unreachable!("three nodes") };
    let gateway = TestGateway::start(&redis.url()).await;
    let audit = Audit::start(&redis);
    let mut directory = redis.directory().await;
    still.freeze();
    directory.lives(still.address(), false).await;
    assert!(directory.listed().await.contains(&still.address().to_string()), "the frozen node was reaped");
    let mut clients = Vec::new();
    for number in 0..PLAYERS {
        let client = within("a connect", GatewayClient::connect(gateway.address(), &format!("?uid={number}"))).await;
        assert!(living.iter().any(|node| client.process == Some(node.pid())));
        clients.push(client);
    }
    still.thaw();
    directory.heard_of(still.address(), 1).await;
    let client = GatewayClient::connect(gateway.address(), "").await;
    assert_eq!(client.process, Some(still.pid()), "the thawed node has the lowest load");
    audit.passed().await;
}

/// The gateway waits for a node for three quarters of the idle timeout.
#[tokio::test]
async fn a_player_of_a_frozen_node_comes_to_another() {
    let redis = RedisServer::start().await;
    let nodes = start(&redis, &[LIMIT * 4, LIMIT * 4]).await;
    let gateway = Gateway::new(&*redis.url()).idle_timeout(Duration::from_secs(8));
    let gateway = TestGateway::start_from(gateway).await;
    let audit = Audit::start(&redis);
    nodes[0].freeze();
    let connecting = (0..20).map(|_| GatewayClient::connect(gateway.address(), ""));
    for client in join_all(connecting).await {
        assert_eq!(client.process, Some(nodes[1].pid()));
    }
    nodes[0].thaw();
    audit.passed().await;
}
