//! How the gateway answers when no node is alive, or when Redis is killed, hangs or loses its data.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use kengine::cluster::gateway::Gateway;
use kengine_tests::{
    Certificate, Client, HttpResponse, LIMIT, Network, NodeProcess, Proxy, RedisServer, TestGateway, TestServer, Town,
    Upgrade, free_address, heavy_test, until, within,
};
use tokio::time::sleep;

const LEASE: Duration = Duration::from_secs(6);

/// A Redis, nodes, and a gateway that has read the directory.
struct Cluster {
    redis: RedisServer,
    nodes: Vec<TestServer>,
    gateway: TestGateway,
}

impl Cluster {
    /// Starts a cluster whose gateway waits for Redis as long as [`LIMIT`].
    async fn start(nodes: usize) -> Self {
        Self::start_with(nodes, TestGateway::start_from).await
    }

    /// Starts a cluster whose gateway waits for Redis as long as in production.
    async fn start_as_shipped(nodes: usize) -> Self {
        Self::start_with(nodes, TestGateway::start_as_shipped).await
    }

    async fn start_with(nodes: usize, start: impl AsyncFnOnce(Gateway) -> TestGateway) -> Self {
        let redis = RedisServer::start().await;
        let mut directory = redis.directory().await;
        let mut started = Vec::new();
        for _ in 0..nodes {
            let node = TestServer::start(Town::node(&redis.url(), LEASE)).await;
            directory.count_is(node.address(), Some(0)).await;
            started.push(node);
        }
        let gateway = start(Gateway::new(redis.url())).await;
        redis.nodes_are_read().await;
        Self { redis, nodes: started, gateway }
    }

    fn connections(&self) -> Vec<usize> {
        self.nodes.iter().map(|node| node.hub().connections()).collect()
    }

    async fn has(&self, connections: usize) {
        let all = async || (self.connections().iter().sum::<usize>() == connections).then_some(());
        until("the connections", all).await;
    }
}

/// Starts a gateway that waits for Redis as long as in production.
async fn shipped(redis: &str) -> TestGateway {
    TestGateway::start_as_shipped(Gateway::new(redis)).await
}

/// Returns the gateway's answer to a request for a WebSocket.
async fn ask(address: SocketAddr) -> HttpResponse {
    Upgrade::new(address).ask(address).await
}

fn is_refused(answer: &HttpResponse, code: &str) {
    assert_eq!((answer.status, answer.error_code().as_str()), (503, code));
    assert_eq!(answer.field("retry-after"), Some("1"));
}

/// Connects as a client that tries again while the gateway does not know the nodes. On a slow machine the gateway may
/// not reach Redis within two seconds and answer `unavailable`; it must never answer `no_node`.
async fn come(address: SocketAddr, path: impl Into<String>) -> HttpResponse {
    let upgrade = Upgrade::new(address).path(path);
    let coming = async {
        loop {
            let answer = upgrade.ask(address).await;
            if answer.status != 503 {
                return answer;
            }
            is_refused(&answer, "unavailable");
        }
    };
    within("a connection", coming).await
}

/// Returns how many times Redis has picked a node. Nodes do not run this command.
async fn picks(redis: &RedisServer) -> usize {
    redis.calls("zincrby").await
}

#[tokio::test]
async fn an_empty_directory_is_answered_at_once() {
    // If each request waited for a node, all together would exceed the limit.
    const REQUESTS: u32 = 40;
    const WAIT: Duration = Duration::from_secs(2);
    assert!(WAIT * REQUESTS > LIMIT);
    let redis = RedisServer::start().await;
    let gateway = shipped(&redis.url()).await;
    redis.nodes_are_read().await;
    // On a slow machine, the gateway may need a moment to learn that there is no node.
    until("an answer", async || (ask(gateway.address()).await.error_code() == "no_node").then_some(())).await;
    within("answers", async {
        for _ in 0..REQUESTS {
            is_refused(&ask(gateway.address()).await, "no_node");
        }
    })
    .await;
}

#[tokio::test]
async fn a_new_gateway_does_not_answer_no_node() {
    let redis = RedisServer::start().await;
    let node = TestServer::start(Town::node(&redis.url(), LEASE)).await;
    redis.directory().await.count_is(node.address(), Some(0)).await;
    // The first pick for a room needs three round trips of 200 ms, which is longer than the gateway waits for a pick.
    let proxy = Proxy::start(redis.port()).await;
    proxy.set(Network::Slow(Duration::from_millis(100)));
    let gateway = shipped(&proxy.url()).await;
    assert_eq!(come(gateway.address(), "/ws?room=lobby").await.status, 101);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_a_new_gateway_does_not_get_no_node() {
    let redis = RedisServer::start().await;
    let node = TestServer::start(Town::node(&redis.url(), LEASE)).await;
    redis.directory().await.count_is(node.address(), Some(0)).await;
    let proxy = Proxy::start(redis.port()).await;
    proxy.set(Network::Slow(Duration::from_millis(10)));
    let gateway = shipped(&proxy.url()).await;
    let crowd = (0..600).map(|_| tokio::spawn(come(gateway.address(), "/ws")));
    for answer in join_all(crowd).await {
        assert_eq!(answer.expect("an answer").status, 101);
    }
}

#[tokio::test]
async fn a_request_waits_for_redis_for_two_seconds_at_most() {
    let redis = RedisServer::start().await;
    let node = TestServer::start(Town::node(&redis.url(), LEASE)).await;
    redis.directory().await.count_is(node.address(), Some(0)).await;
    let proxy = Proxy::start(redis.port()).await;
    // On a slow machine, the request may give up before Redis is back.
    until("a request that waits and succeeds", async || {
        proxy.set(Network::Refused);
        let gateway = shipped(&proxy.url()).await;
        let asked = tokio::spawn(ask(gateway.address()));
        sleep(Duration::from_millis(300)).await;
        proxy.set(Network::Good);
        let answer = asked.await.expect("an answer");
        if answer.status == 101 {
            return Some(());
        }
        is_refused(&answer, "unavailable");
        None
    })
    .await;
    proxy.set(Network::Refused);
    let gateway = shipped(&proxy.url()).await;
    let begun = Instant::now();
    is_refused(&ask(gateway.address()).await, "unavailable");
    assert!(begun.elapsed() >= Duration::from_millis(1900), "it waited for {:?}", begun.elapsed());
    // The node was running all the time.
    proxy.set(Network::Good);
    assert_eq!(come(gateway.address(), "/ws").await.status, 101);
}

#[tokio::test]
async fn a_gateway_started_before_redis_and_the_nodes_finds_them() {
    let mut redis = RedisServer::start().await;
    redis.kill();
    let gateway = shipped(&redis.url()).await;
    is_refused(&ask(gateway.address()).await, "unavailable");
    let coming = tokio::spawn(async move { (come(gateway.address(), "/ws").await, gateway) });
    redis.restart().await;
    let node = TestServer::start(Town::node(&redis.url(), LEASE)).await;
    assert_eq!(coming.await.expect("an answer").0.status, 101);
    drop(node);
}

#[tokio::test]
async fn an_idle_gateway_learns_the_nodes_by_one_read_a_second() {
    let mut redis = RedisServer::start().await;
    let proxy = Proxy::start(redis.port()).await;
    let gateway = TestGateway::start(&proxy.url()).await;
    redis.nodes_are_read().await;
    let (begun, before) = (Instant::now(), proxy.commands());
    until("reads", async || (proxy.commands() >= before + 6).then_some(())).await;
    let elapsed = begun.elapsed();
    let reads = proxy.commands() - before;
    let most = usize::try_from(elapsed.as_secs()).expect("seconds") + 2;
    assert!(reads <= most, "{reads} commands within {elapsed:?}");
    // The gateway knows a node that starts later before the first player asks for it.
    let node = TestServer::start(Town::node(&redis.url(), LEASE)).await;
    redis.directory().await.count_is(node.address(), Some(0)).await;
    let before = proxy.commands();
    until("two more reads", async || (proxy.commands() >= before + 2).then_some(())).await;
    redis.kill();
    assert_eq!(ask(gateway.address()).await.status, 101);
}

#[tokio::test]
async fn a_player_gets_503_after_every_node_was_killed() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let node = NodeProcess::start(env!("CARGO_BIN_EXE_node"), free_address(), &redis.url(), LEASE / 2).await;
        directory.count_is(node.address(), Some(0)).await;
        nodes.push(node);
    }
    let gateway = TestGateway::start(&redis.url()).await;
    drop(Client::connect(gateway.address()).await);
    nodes.iter_mut().for_each(NodeProcess::kill);
    // This holds while their leases run and after they have expired.
    is_refused(&ask(gateway.address()).await, "no_node");
    directory.lives(nodes[0].address(), false).await;
    directory.lives(nodes[1].address(), false).await;
    is_refused(&ask(gateway.address()).await, "no_node");
    // A node that comes back at the same address is found at once, even if the gateway has noted that it failed.
    let address = nodes.remove(0).address();
    let node = NodeProcess::start(env!("CARGO_BIN_EXE_node"), address, &redis.url(), LEASE).await;
    directory.lives(node.address(), true).await;
    assert_eq!(ask(gateway.address()).await.status, 101);
}

#[tokio::test]
async fn players_are_spread_over_the_last_known_nodes() {
    let _turn = heavy_test().await;
    let mut cluster = Cluster::start(3).await;
    let address = cluster.gateway.address();
    cluster.redis.kill();
    let mut players = Vec::new();
    for _ in 0..30 {
        players.push(Client::connect(address).await);
    }
    cluster.has(30).await;
    assert_eq!(cluster.connections(), [10, 10, 10], "in turn");
    // A node that ends meanwhile is left out.
    cluster.nodes.remove(0).stop().await;
    for _ in 0..10 {
        players.push(Client::connect(address).await);
    }
    cluster.has(30).await;
    // A player who was sent to the ended node first has used two turns.
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
async fn a_full_node_is_left_out_while_redis_is_away() {
    const PLAYERS: usize = 10;
    let mut redis = RedisServer::start().await;
    let full = redis.serve(Town::node(&redis.url(), LEASE).max_connections(1)).await;
    let _only = Client::connect(full.address()).await;
    let other = redis.serve(Town::node(&redis.url(), LEASE)).await;
    let gateway = TestGateway::start(&redis.url()).await;
    redis.nodes_are_read().await;
    redis.kill();
    let mut players = Vec::new();
    for _ in 0..PLAYERS {
        players.push(Client::connect(gateway.address()).await);
    }
    assert_eq!((full.hub().connections(), other.hub().connections()), (1, PLAYERS));
    // Only a gateway is told to ask another node.
    let refused = ask(full.address()).await;
    is_refused(&refused, "unavailable");
    assert_eq!(refused.field("x-accel-redirect"), None);
}

#[tokio::test]
async fn only_one_request_waits_for_a_frozen_redis() {
    let _turn = heavy_test().await;
    let cluster = Cluster::start_as_shipped(2).await;
    let address = cluster.gateway.address();
    let before = picks(&cluster.redis).await;
    cluster.redis.freeze();
    let mut players = Vec::new();
    for _ in 0..20 {
        players.push(Client::connect(address).await);
    }
    join_all((0..100).map(|_| Client::connect(address))).await;
    cluster.redis.thaw();
    // By the time this is answered, Redis has also done what it was asked while it was frozen.
    assert!(picks(&cluster.redis).await <= before + 1, "more than the first request has asked Redis");
    until("the return of Redis", async || cluster.gateway.errors().contains("the directory is back").then_some(()))
        .await;
    // The crowd is so large that each worker gets a part of it, and Redis is asked for every player. On a slow machine,
    // some of the first crowd may have been sent on without Redis.
    until("every worker to ask Redis again", async || {
        let before = picks(&cluster.redis).await;
        let crowd = join_all((0..200).map(|_| Client::connect(address))).await;
        (picks(&cluster.redis).await == before + crowd.len()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_batch_a_worker_waits_for_a_frozen_redis() {
    /// How many requests a worker combines into one call.
    const BATCH: usize = 64;
    let _turn = heavy_test().await;
    let cluster = Cluster::start_as_shipped(2).await;
    let address = cluster.gateway.address();
    let before = picks(&cluster.redis).await;
    cluster.redis.freeze();
    let workers = cluster.gateway.workers().len();
    let crowd = 2 * workers * BATCH;
    let crowd = join_all((0..crowd).map(|_| Client::connect(address))).await;
    cluster.redis.thaw();
    let asked = picks(&cluster.redis).await - before;
    assert!(asked <= workers * BATCH, "{asked} of {} have asked Redis", crowd.len());
}

#[tokio::test]
async fn players_come_in_after_redis_was_away_beyond_a_lease() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let lease = LEASE / 2;
    let node = TestServer::start(Town::node(&redis.url(), lease)).await;
    directory.count_is(node.address(), Some(0)).await;
    let gateway = shipped(&redis.url()).await;
    redis.nodes_are_read().await;
    let come = async || assert_eq!(ask(gateway.address()).await.status, 101);
    come().await;
    redis.freeze();
    let begun = Instant::now();
    while begun.elapsed() < 2 * lease {
        come().await;
    }
    redis.thaw();
    // The gateway reaches Redis again before the node does, when the node's lease has expired.
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
    // The scripts are gone, too.
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
async fn the_password_of_redis_is_not_logged() {
    // This server does not know the command, and quotes it.
    let redis = RedisServer::start_with(&["--rename-command", "AUTH", ""]).await;
    for user in ["", "game"] {
        let gateway = shipped(&format!("redis://{user}:se%20cret@127.0.0.1:{}/", redis.port())).await;
        let errors = until("a line about Redis", async || {
            let errors = gateway.errors();
            errors.contains("the directory is away (").then_some(errors)
        })
        .await;
        assert!(!errors.contains("se cret"), "{errors}");
    }
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
    for gateway in [
        Gateway::new(format!("redis+unix://{socket}")),
        Gateway::new(&*tls).authorities(&cert),
        Gateway::new(format!("{tls}#insecure")),
    ] {
        let gateway = TestGateway::start_from(gateway).await;
        assert_eq!(ask(gateway.address()).await.status, 101, "{gateway:?}: {}", gateway.errors());
    }
    // A Redis with an untrusted certificate counts as away.
    let gateway = shipped(&tls).await;
    is_refused(&ask(gateway.address()).await, "unavailable");
}
