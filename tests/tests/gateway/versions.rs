//! Nodes of several versions are in the cluster: the gateway sends players to the newest version.

use std::{process::Command, time::Duration};

use futures_util::future::join_all;
use kengine::{Server, StartError, cluster::gateway::Gateway};
use kengine_tests::{
    Audit, Client, ClientFrame, GatewayClient, NodeProcess, RawClient, RedisServer, TestGateway, TestServer, Town,
    Upgrade, free_address, heavy_test, until,
};
use redis::AsyncCommands;

const NODE: &str = env!("CARGO_BIN_EXE_node");
/// Long enough for a node on a busy machine to renew it in time.
const LEASE: Duration = Duration::from_secs(6);

fn server(redis: &RedisServer, version: &str) -> Server<Town> {
    Town::node(&redis.url(), LEASE).version(version)
}

/// Starts a node of each version, one after another.
async fn nodes<const COUNT: usize>(redis: &RedisServer, versions: [&str; COUNT]) -> Vec<TestServer> {
    let mut nodes = Vec::new();
    for version in versions {
        nodes.push(redis.serve(server(redis, version)).await);
    }
    nodes
}

async fn come(gateway: &TestGateway, count: usize) -> Vec<RawClient> {
    let mut players = Vec::new();
    for _ in 0..count {
        players.push(Upgrade::new(gateway.address()).open(gateway.address()).await);
    }
    players
}

/// Waits until the nodes have these numbers of connections.
async fn counts_are(nodes: &[TestServer], counts: &[usize]) {
    let connections = || nodes.iter().map(|node| node.hub().connections()).collect::<Vec<_>>();
    until(&format!("the counts {counts:?}"), async || (connections() == counts).then_some(())).await;
}

#[tokio::test]
async fn players_go_to_the_newest_version_while_it_has_room() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let mut nodes = nodes(&redis, ["9", "9"]).await;
    for _ in 0..2 {
        // As a text and as a number this version is less than the one before.
        nodes.push(redis.serve(server(&redis, "10").max_connections(3)).await);
    }
    let gateway = TestGateway::start(&redis.url()).await;
    let audit = Audit::start(&redis);
    let mut players = come(&gateway, 4).await;
    counts_are(&nodes, &[0, 0, 2, 2]).await;
    players.extend(come(&gateway, 2).await);
    counts_are(&nodes, &[0, 0, 3, 3]).await;
    // The newest version is full.
    players.extend(come(&gateway, 2).await);
    counts_are(&nodes, &[1, 1, 3, 3]).await;
    // It has room again.
    drop(players.drain(..2));
    counts_are(&nodes, &[1, 1, 2, 2]).await;
    for node in &nodes[2..] {
        directory.count_is(node.address(), Some(2)).await;
    }
    players.extend(come(&gateway, 2).await);
    counts_are(&nodes, &[1, 1, 3, 3]).await;
    audit.passed().await;
}

#[tokio::test]
async fn players_go_to_an_older_version_if_the_newest_fails() {
    let redis = RedisServer::start().await;
    let old = nodes(&redis, ["1"]).await;
    let mut command = Command::new(NODE);
    command.env("NODE_VERSION", "2");
    let mut new = NodeProcess::start_from(command, free_address(), &redis.url(), LEASE).await;
    redis.directory().await.count_is(new.address(), Some(0)).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let client = GatewayClient::connect(gateway.address(), "").await;
    assert_eq!(client.process, Some(new.pid()));
    new.kill();
    let _players = come(&gateway, 2).await;
    counts_are(&old, &[2]).await;
}

#[tokio::test]
async fn the_version_that_was_started_last_is_the_newest() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let gateway = TestGateway::start(&redis.url()).await;
    // The second version is taken back.
    let mut nodes = nodes(&redis, ["1", "2", "1"]).await;
    let mut players = come(&gateway, 4).await;
    counts_are(&nodes, &[2, 0, 2]).await;
    // A node without a version counts as the oldest, whenever it was started.
    nodes.push(redis.serve(server(&redis, "")).await);
    players.extend(come(&gateway, 2).await);
    counts_are(&nodes, &[3, 0, 3, 0]).await;
    assert_eq!(directory.node(nodes[1].address(), "version").await.as_deref(), Some("2"));
    let known: Vec<String> = directory.redis.zrange("{kengine}:versions", 0, -1).await.unwrap();
    assert_eq!(known, ["2", "1"]);
    // Redis loses its data, and the nodes join again in any order.
    let _: () = redis::cmd("FLUSHALL").query_async(&mut directory.redis).await.unwrap();
    for node in &nodes {
        let address = node.address().to_string();
        until("a node that has joined again", async || directory.listed().await.contains(&address).then_some(())).await;
    }
    let known: Vec<String> = directory.redis.zrange("{kengine}:versions", 0, -1).await.unwrap();
    assert_eq!(known, ["2", "1"]);
    drop(players);
    for node in nodes {
        node.stop().await;
    }
    assert_eq!(directory.keys().await, [""; 0]);
}

#[tokio::test]
async fn an_invalid_version_is_an_error_of_bind() {
    for (version, mistake) in [("a".repeat(65), "65 bytes"), ("1\n2".to_owned(), r#""1\n2""#)] {
        let refused = Server::new(Town).version(version).bind("127.0.0.1:0").await.expect_err("not a version");
        assert!(matches!(refused, StartError::Config(_)), "{refused}");
        assert!(refused.to_string().contains(mistake), "{refused}");
    }
    let longest = Server::new(Town).version("a".repeat(64)).bind("127.0.0.1:0").await;
    assert!(longest.is_ok(), "{longest:?}");
}

#[tokio::test]
async fn few_versions_are_remembered() {
    let redis = RedisServer::start().await;
    let mut nodes = Vec::new();
    for version in 0..20 {
        nodes.push(redis.serve(server(&redis, &format!("1.{version}"))).await);
    }
    let mut directory = redis.directory().await;
    let known: Vec<String> = directory.redis.zrange("{kengine}:versions", 0, -1).await.unwrap();
    assert_eq!(known, (4..20).map(|version| format!("1.{version}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn affinity_comes_before_versions() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let nodes = nodes(&redis, ["1", "1", "2"]).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let mut ada = Client::connect_to(nodes[0].address(), "/ws?uid=ada").await;
    directory.user_is("ada", Some(nodes[0].address().to_string())).await;
    let _: () = directory.redis.set_ex("kengine:room:lobby", nodes[1].address().to_string(), 60).await.unwrap();
    let open =
        async |query: &str| Upgrade::new(gateway.address()).path(format!("/ws{query}")).open(gateway.address()).await;
    let _ada_again = open("?uid=ada&room=lobby").await;
    assert_eq!(ada.next().await, "close 4500");
    drop(ada);
    let _bob = open("?uid=bob&room=lobby").await;
    // A room without a node gets one of the newest version.
    let _cid = open("?uid=cid&room=arena").await;
    counts_are(&nodes, &[1, 1, 1]).await;
    let at: String = directory.redis.get("kengine:room:arena").await.unwrap();
    assert_eq!(at, nodes[2].address().to_string());
}

#[tokio::test]
async fn versions_have_no_effect_while_redis_is_away() {
    let mut redis = RedisServer::start().await;
    let nodes = nodes(&redis, ["1", "2"]).await;
    let gateway = TestGateway::start_as_shipped(Gateway::new(redis.url()).idle_timeout(Town::IDLE_TIME)).await;
    redis.nodes_are_read().await;
    redis.kill();
    let _players = come(&gateway, 6).await;
    counts_are(&nodes, &[3, 3]).await;
}

/// A rolling update of three nodes while 300 players are connected through the gateway.
struct Update<'r> {
    redis: &'r RedisServer,
    gateway: TestGateway,
    /// The version before and after.
    versions: [&'r str; 2],
    nodes: Vec<NodeProcess>,
    players: Vec<Player>,
    /// How many players have come.
    came: usize,
    moves: usize,
}

struct Player {
    uid: String,
    client: GatewayClient,
    /// How many times the player was moved.
    moves: usize,
}

impl Player {
    async fn come(gateway: &TestGateway, uid: String) -> Self {
        let client = GatewayClient::connect(gateway.address(), &format!("?uid={uid}")).await;
        Self { uid, client, moves: 0 }
    }

    /// Waits until the node closes the connection, and connects again.
    async fn is_moved(&mut self, gateway: &TestGateway) {
        assert_eq!(self.client.connection.frame().await, "close 4000");
        self.client.connection.answer_close(4000).await;
        self.client = GatewayClient::connect(gateway.address(), &format!("?uid={}", self.uid)).await;
        self.moves += 1;
    }
}

impl<'r> Update<'r> {
    const NODES: usize = 3;
    const PLAYERS: usize = 300;

    async fn prepare(redis: &'r RedisServer, versions: [&'r str; 2]) -> Self {
        let gateway = TestGateway::start(&redis.url()).await;
        let mut update = Self { redis, gateway, versions, nodes: Vec::new(), players: Vec::new(), came: 0, moves: 0 };
        for _ in 0..Self::NODES {
            update.start(versions[0]).await;
        }
        update.come(Self::PLAYERS).await;
        update
    }

    async fn start(&mut self, version: &str) {
        let mut command = Command::new(NODE);
        command.env("NODE_VERSION", version);
        let node = NodeProcess::start_from(command, free_address(), &self.redis.url(), LEASE).await;
        self.redis.directory().await.count_is(node.address(), Some(0)).await;
        self.nodes.push(node);
    }

    async fn come(&mut self, count: usize) {
        let uids = (0..count).map(|number| (self.came + number).to_string());
        let players = join_all(uids.map(|uid| Player::come(&self.gateway, uid))).await;
        self.players.extend(players);
        self.came += count;
        self.are_counted().await;
    }

    /// Waits until the directory knows all players, and no others.
    async fn are_counted(&self) {
        let mut directory = self.redis.directory().await;
        for node in &self.nodes {
            let here = self.players.iter().filter(|player| player.client.process == Some(node.pid())).count();
            directory.count_is(node.address(), Some(here)).await;
        }
    }

    /// Lets this share of the players leave, and as many others come.
    async fn change_players(&mut self, one_in: usize) {
        let number = self.players.len() / one_in;
        let mut leaving = Vec::new();
        for index in (0..number).rev() {
            leaving.push(self.players.swap_remove(index * one_in));
        }
        for player in &mut leaving {
            player.client.connection.try_send(ClientFrame::close(1000, "").bytes()).await;
            assert_eq!(player.client.connection.frame().await, "close 1000");
        }
        self.are_counted().await;
        self.come(leaving.len()).await;
    }

    /// Drains the oldest node.
    async fn drain(&mut self) {
        let node = self.nodes.remove(0);
        node.terminate();
        let (pid, gateway) = (node.pid(), &self.gateway);
        let here = self.players.iter_mut().filter(|player| player.client.process == Some(pid));
        self.moves += join_all(here.map(|player| player.is_moved(gateway))).await.len();
        node.ended().await;
        self.are_counted().await;
    }

    /// Replaces all nodes. With `surge`, a new node starts before an old one drains. Between two steps, one in
    /// `changing` players leaves, and another one comes.
    async fn run(mut self, surge: bool, changing: Option<usize>) -> Moves {
        for _ in 0..Self::NODES {
            if surge {
                self.start(self.versions[1]).await;
            }
            if let Some(one_in) = changing {
                self.change_players(one_in).await;
            }
            self.drain().await;
            if !surge {
                self.start(self.versions[1]).await;
            }
        }
        let pids: Vec<_> = self.nodes.iter().map(|node| Some(node.pid())).collect();
        for player in &mut self.players {
            assert!(player.client.is_alive().await && pids.contains(&player.client.process));
        }
        let most = self.players.iter().map(|player| player.moves).max().unwrap_or(0);
        Moves { all: self.moves, most }
    }
}

/// The moves of an update.
#[derive(Debug)]
struct Moves {
    all: usize,
    /// The most moves of one player who is there at the end.
    most: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_update_moves_players_less_often_with_versions() {
    let _turn = heavy_test().await;
    for (what, surge, changing) in [
        ("in place, with the same players", false, None),
        ("in place, half of the players change", false, Some(2)),
        ("a new node first, with the same players", true, None),
        ("a new node first, half of the players change", true, Some(2)),
    ] {
        let mut moves = Vec::new();
        for versions in [["", ""], ["1", "2"]] {
            let redis = RedisServer::start().await;
            let update = Update::prepare(&redis, versions).await;
            moves.push(update.run(surge, changing).await);
        }
        let [without, with] = &moves[..] else { panic!("two updates") };
        eprintln!("{what}: {without:?} without versions, {with:?} with versions, of {} players", Update::PLAYERS);
        let most = if surge { 1 } else { 2 };
        assert!(with.most <= most, "{what}: a player was moved {} times", with.most);
        if changing.is_some() {
            assert!(with.all < without.all, "{what}: {with:?} with versions, {without:?} without");
        }
    }
}
