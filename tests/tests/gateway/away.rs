//! The gateway without a live node, or with a Redis that is killed, hangs or loses its data.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use kengine::cluster::gateway::Gateway;
use kengine_tests::{
    Certificate, Client, HttpResponse, NodeProcess, RedisServer, TestGateway, TestServer, Town, Upgrade, free_address,
    heavy_test, until,
};

const LEASE: Duration = Duration::from_secs(6);
/// Every answer has to come within this time.
const SOON: Duration = Duration::from_secs(1);

/// Nodes, and a gateway that has seen them.
struct Cluster {
    redis: RedisServer,
    nodes: Vec<TestServer>,
    gateway: TestGateway,
}

impl Cluster {
    async fn start(nodes: usize) -> Self {
        let redis = RedisServer::start().await;
        let mut directory = redis.directory().await;
        let mut cluster = Self { nodes: Vec::new(), gateway: TestGateway::start(&redis.url()).await, redis };
        for _ in 0..nodes {
            let node = TestServer::start(Town::node(&cluster.redis.url(), LEASE)).await;
            directory.count_is(node.address(), Some(0)).await;
            cluster.nodes.push(node);
        }
        drop(Client::connect(cluster.gateway.address()).await);
        cluster.has(0).await;
        cluster
    }

    fn connections(&self) -> Vec<usize> {
        self.nodes.iter().map(|node| node.hub().connections()).collect()
    }

    async fn has(&self, connections: usize) {
        let all = async || (self.connections().iter().sum::<usize>() == connections).then_some(());
        until("the connections", all).await;
    }
}

/// Returns the gateway's answer to a request for a WebSocket, which must come soon.
async fn ask(address: SocketAddr) -> HttpResponse {
    let upgrade = Upgrade::new(address);
    tokio::time::timeout(SOON, upgrade.ask(address)).await.expect("an answer within a second")
}

fn is_refused(answer: &HttpResponse) {
    assert_eq!((answer.status, answer.error_code().as_str()), (503, "no_node"));
    assert_eq!(answer.field("retry-after"), Some("1"));
}

/// Returns how often Redis has picked a node; nodes do not run this command.
async fn picks(redis: &RedisServer) -> usize {
    redis.calls("zincrby").await
}

#[tokio::test]
async fn a_player_gets_503_before_the_first_node_starts() {
    let redis = RedisServer::start().await;
    let gateway = TestGateway::start(&redis.url()).await;
    is_refused(&ask(gateway.address()).await);
}

#[tokio::test]
async fn a_player_gets_503_after_every_node_was_killed() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let node = NodeProcess::start(env!("CARGO_BIN_EXE_node"), free_address(), &redis.url(), SOON).await;
        directory.count_is(node.address(), Some(0)).await;
        nodes.push(node);
    }
    let gateway = TestGateway::start(&redis.url()).await;
    drop(Client::connect(gateway.address()).await);
    nodes.iter_mut().for_each(NodeProcess::kill);
    // While the leases run, and after they have expired.
    is_refused(&ask(gateway.address()).await);
    directory.lives(nodes[0].address(), false).await;
    directory.lives(nodes[1].address(), false).await;
    is_refused(&ask(gateway.address()).await);
    // A node that returns to the same address is found at once, although it had failed.
    let address = nodes.remove(0).address();
    let node = NodeProcess::start(env!("CARGO_BIN_EXE_node"), address, &redis.url(), LEASE).await;
    directory.lives(node.address(), true).await;
    assert_eq!(ask(gateway.address()).await.status, 101);
}

#[tokio::test]
async fn a_player_gets_503_before_redis_was_ever_reached() {
    let gateway = TestGateway::start(&format!("redis://{}/", free_address())).await;
    is_refused(&ask(gateway.address()).await);
}

#[tokio::test]
async fn players_are_spread_over_the_last_known_nodes() {
    let _turn = heavy_test().await;
    let mut cluster = Cluster::start(3).await;
    let address = cluster.gateway.address();
    cluster.redis.kill();
    let mut players = Vec::new();
    for _ in 0..30 {
        let connected = tokio::time::timeout(SOON, Client::connect(address)).await;
        players.push(connected.expect("a connection within a second"));
    }
    cluster.has(30).await;
    assert_eq!(cluster.connections(), [10, 10, 10], "in turn");
    // A node that has gone meanwhile is skipped.
    cluster.nodes.remove(0).stop().await;
    for _ in 0..10 {
        players.push(Client::connect(address).await);
    }
    cluster.has(30).await;
    // A player who was sent to it first, and then to another node, has taken two turns.
    assert!(cluster.connections().iter().all(|count| (13..=17).contains(count)), "{:?}", cluster.connections());

    cluster.redis.restart().await;
    until("picks by the directory", async || {
        drop(Client::connect(address).await);
        (picks(&cluster.redis).await > 0).then_some(())
    })
    .await;
    let errors = cluster.gateway.errors();
    assert_eq!(errors.matches("the directory is away (").count(), 1, "{errors}");
    assert_eq!(errors.matches("the directory is back").count(), 1, "{errors}");
}

#[tokio::test]
async fn only_one_request_waits_for_a_frozen_redis() {
    let _turn = heavy_test().await;
    let cluster = Cluster::start(2).await;
    let address = cluster.gateway.address();
    let before = picks(&cluster.redis).await;
    cluster.redis.freeze();
    let mut players = Vec::new();
    for _ in 0..20 {
        let connected = tokio::time::timeout(SOON, Client::connect(address)).await;
        players.push(connected.expect("a connection within a second"));
    }
    let crowd = join_all((0..100).map(|_| tokio::time::timeout(SOON, Client::connect(address)))).await;
    assert!(crowd.iter().all(Result::is_ok), "each within a second");
    cluster.redis.thaw();
    // Redis now runs the commands that it was sent meanwhile, before it answers this one.
    assert!(picks(&cluster.redis).await <= before + 1, "no request but the first has asked Redis");
    until("the return of Redis", async || cluster.gateway.errors().contains("the directory is back").then_some(()))
        .await;
    let before = picks(&cluster.redis).await;
    // The last answer is some time ago, and the crowd is large enough to reach every worker.
    tokio::time::sleep(SOON / 4).await;
    let crowd = join_all((0..200).map(|_| Client::connect(address))).await;
    assert_eq!(picks(&cluster.redis).await, before + crowd.len(), "every worker asks Redis again");
}

#[tokio::test]
async fn one_batch_a_worker_waits_for_a_frozen_redis() {
    /// How many requests a worker sends to Redis together.
    const BATCH: usize = 64;
    let _turn = heavy_test().await;
    let cluster = Cluster::start(2).await;
    let address = cluster.gateway.address();
    let before = picks(&cluster.redis).await;
    cluster.redis.freeze();
    let workers = std::thread::available_parallelism().expect("cores").get();
    let crowd = 2 * workers * BATCH;
    let crowd = join_all((0..crowd).map(|_| tokio::time::timeout(SOON, Client::connect(address)))).await;
    assert!(crowd.iter().all(Result::is_ok), "each within a second");
    cluster.redis.thaw();
    let asked = picks(&cluster.redis).await - before;
    assert!(asked <= workers * BATCH, "{asked} of {} have asked Redis", crowd.len());
}

#[tokio::test]
async fn players_come_in_after_redis_was_away_beyond_a_lease() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let lease = Duration::from_millis(600);
    let node = TestServer::start(Town::node(&redis.url(), lease)).await;
    directory.count_is(node.address(), Some(0)).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let come = async || assert_eq!(ask(gateway.address()).await.status, 101);
    come().await;
    redis.freeze();
    let begun = Instant::now();
    while begun.elapsed() < 2 * lease {
        come().await;
    }
    redis.thaw();
    // The gateway reaches Redis before the node does, and finds an expired lease.
    until("picks by the directory", async || {
        come().await;
        gateway.errors().contains("the directory is back").then_some(())
    })
    .await;
    for _ in 0..20 {
        come().await;
    }
}

#[tokio::test]
async fn players_come_in_while_redis_has_lost_its_data() {
    let cluster = Cluster::start(2).await;
    let mut redis = cluster.redis.connection().await;
    redis::cmd("FLUSHALL").exec_async(&mut redis).await.expect("a command");
    // Also removes its scripts.
    redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut redis).await.expect("a command");
    let players = join_all((0..20).map(|_| Client::connect(cluster.gateway.address()))).await;
    cluster.has(players.len()).await;
}

#[tokio::test]
async fn the_url_gives_user_password_and_database() {
    let redis = RedisServer::start().await;
    let mut connection = redis.connection().await;
    for user in [&["game", "on", ">pa \"\\ss", "~*", "&*", "+@all"][..], &["default", "off"]] {
        redis::cmd("ACL").arg("SETUSER").arg(user).exec_async(&mut connection).await.expect("a user");
    }
    let url = format!("redis://game:pa%20%22%5Css@127.0.0.1:{}/3", redis.port());
    let node = TestServer::start(Town::node(&url, LEASE)).await;
    let gateway = TestGateway::start(&url).await;
    until("a connection", async || (ask(gateway.address()).await.status == 101).then_some(())).await;
    drop(node);
}

#[tokio::test]
async fn redis_may_listen_on_a_unix_socket_or_with_tls() {
    let certificate = Certificate::new();
    let [key, cert] = ["key.pem", "cert.pem"].map(|file| certificate.path(file));
    let (port, socket) = (free_address().port().to_string(), certificate.path("redis.sock"));
    let mut arguments = vec!["--unixsocket", &socket, "--unixsocketperm", "777"];
    arguments.extend(["--tls-port", &port, "--tls-key-file", &key, "--tls-cert-file", &cert]);
    arguments.extend(["--tls-ca-cert-file", &cert, "--tls-auth-clients", "no"]);
    let redis = RedisServer::start_with(&arguments).await;
    let node = TestServer::start(Town::node(&redis.url(), LEASE)).await;
    redis.directory().await.count_is(node.address(), Some(0)).await;
    let tls = format!("rediss://localhost:{port}/");
    for (gateway, status) in [
        (Gateway::new(format!("redis+unix://{socket}")), 101),
        (Gateway::new(&*tls).authorities(&cert), 101),
        // A Redis with an untrusted certificate counts as away.
        (Gateway::new(&*tls), 503),
        (Gateway::new(format!("{tls}#insecure")), 101),
    ] {
        let gateway = TestGateway::start_from(gateway).await;
        assert_eq!(ask(gateway.address()).await.status, status, "{gateway:?}: {}", gateway.errors());
    }
}
