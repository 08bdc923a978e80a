//! The gateway brings players of a room, and connections of a user, to the same node.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    time::Duration,
};

use futures_util::future::join_all;
use kengine::cluster::gateway::Gateway;
use kengine_tests::{
    Audit, Client, GatewayClient, LIMIT, Network, NodeProcess, Proxy, RawClient, RedisServer, TestGateway, TestServer,
    Town, Upgrade, free_address, heavy_test, until,
};
use redis::AsyncCommands;

const NODE: &str = env!("CARGO_BIN_EXE_node");
/// Long enough for a node on a busy machine to renew it in time.
const LEASE: Duration = Duration::from_secs(6);
const ROOMS: usize = 50;
const PLAYERS: usize = 20;

/// Starts this many nodes in their own processes; returns when they are in the directory.
async fn start(redis: &RedisServer, count: usize) -> Vec<NodeProcess> {
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(redis.spawn_node(NODE, LEASE).await);
    }
    nodes
}

/// Connects all players at the same time. Each is given as its room and its number.
async fn connect_all(gateway: SocketAddr, players: Vec<(usize, usize)>) -> Vec<(usize, usize, GatewayClient)> {
    let connecting = players.into_iter().map(|(room, player)| {
        tokio::spawn(async move {
            let query = format!("?uid={room}-{player}&room=room%20{room}");
            (room, player, GatewayClient::connect(gateway, &query).await)
        })
    });
    join_all(connecting).await.into_iter().map(|client| client.expect("a connection")).collect()
}

/// Returns the process that serves each room; fails if a room has several.
fn places(clients: &[(usize, usize, GatewayClient)]) -> HashMap<usize, u32> {
    let mut places: HashMap<_, HashSet<_>> = HashMap::new();
    for (room, _, client) in clients {
        places.entry(*room).or_default().insert(client.process.expect("a node that lives"));
    }
    let split: Vec<_> = places.iter().filter(|(_, processes)| processes.len() > 1).collect();
    assert!(split.is_empty(), "rooms on several nodes: {split:?}");
    places.into_iter().map(|(room, processes)| (room, processes.into_iter().next().expect("one"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_50_rooms_stays_on_one_node_after_a_kill() {
    let _turn = heavy_test().await;
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let mut nodes = start(&redis, 4).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let audit = Audit::start(&redis);
    // The first players of a room come at the same time, while no node has the room.
    let players = (0..ROOMS).flat_map(|room| (0..PLAYERS).map(move |player| (room, player))).collect();
    let mut clients = connect_all(gateway.address(), players).await;
    let before = places(&clients);
    assert_eq!(before.len(), ROOMS);
    assert_eq!(before.values().collect::<HashSet<_>>().len(), nodes.len(), "a node has no room");
    // A player who followed the others of a room to another node leaves no seat reserved on the first choice.
    let mut reserved = 0;
    for node in &nodes {
        let players = clients.iter().filter(|(_, _, client)| client.process == Some(node.pid())).count();
        directory.count_is(node.address(), Some(players)).await;
        let key = format!("{{kengine}}:reserved:{}", node.address());
        reserved += directory.redis.zcard::<_, usize>(key).await.expect("reservations");
    }
    assert_eq!(reserved, 0, "seats are still reserved, though all players have come");

    let mut killed = nodes.remove(1);
    killed.kill();
    let (gone, mut stayed): (Vec<_>, Vec<_>) =
        clients.drain(..).partition(|(_, _, client)| client.process == Some(killed.pid()));
    for (_, _, client) in &mut stayed {
        assert!(client.is_alive().await, "a connection to a node that lives has ended");
    }
    let again: Vec<_> = gone.into_iter().map(|(room, player, _)| (room, player)).collect();
    assert!(again.len() >= PLAYERS);
    let moved = again.len();
    stayed.extend(connect_all(gateway.address(), again).await);
    let after = places(&stayed);
    assert!(after.values().all(|process| *process != killed.pid()));
    assert_eq!(stayed.len(), ROOMS * PLAYERS);
    for (room, process) in before {
        assert!(process == killed.pid() || process == after[&room], "room {room} has moved without need");
        let left: i64 = directory.redis.pttl(format!("kengine:room:room%20{room}")).await.expect("a key");
        assert!((1..=3_600_000).contains(&left), "the key of room {room} stays for {left} ms");
    }
    until("the end of the killed node", async || (directory.listed().await.len() == nodes.len()).then_some(())).await;
    eprintln!("{moved} players were on the killed node; {} snapshots", audit.passed().await);
}

#[tokio::test]
async fn simultaneous_first_players_of_a_room_share_a_node() {
    let redis = RedisServer::start().await;
    let _nodes = start(&redis, 3).await;
    // Redis is so slow that all requests have asked for the room's node before any has set it.
    let proxy = Proxy::start(redis.port()).await;
    proxy.set(Network::Slow(Duration::from_millis(10)));
    let gateway = TestGateway::start(&proxy.url()).await;
    for room in 0..20 {
        let query = format!("?room={room}");
        let clients = (0..4).map(|_| GatewayClient::connect(gateway.address(), &query));
        let clients: Vec<_> = join_all(clients).await.into_iter().map(|client| (room, 0, client)).collect();
        places(&clients);
    }
}

/// Connects with this query and returns the connection.
async fn comes(gateway: &TestGateway, query: &str) -> RawClient {
    let path = format!("/ws{query}");
    Upgrade::new(gateway.address()).path(path).open(gateway.address()).await
}

#[tokio::test]
async fn a_user_goes_to_the_node_of_their_other_connection() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let nodes = [(); 3].map(|()| TestServer::start(Town::node(&redis.url(), LEASE)));
    let nodes = join_all(nodes).await;
    for node in &nodes {
        directory.count_is(node.address(), Some(0)).await;
    }
    let gateway = TestGateway::start(&redis.url()).await;
    let audit = Audit::start(&redis);
    // The first node has the highest load, and the room is on the second.
    let mut crowd = Vec::new();
    for number in 0..10 {
        crowd.push(Client::connect_to(nodes[0].address(), &format!("/ws?uid={number}")).await);
    }
    let _: () = directory.redis.set_ex("kengine:room:lobby", nodes[1].address().to_string(), 60).await.unwrap();
    let mut ada = Client::connect_to(nodes[0].address(), "/ws?uid=ada").await;
    directory.user_is("ada", Some(nodes[0].address().to_string())).await;
    directory.count_is(nodes[0].address(), Some(11)).await;

    let _ada_again = comes(&gateway, "?uid=ada&room=lobby").await;
    assert_eq!(ada.next().await, "close 4500");
    drop(ada);
    let bob = comes(&gateway, "?uid=bob&room=lobby").await;
    let connections = || nodes.iter().map(|node| node.hub().connections()).collect::<Vec<_>>();
    until("the end of the older", async || (connections() == [11, 1, 0]).then_some(())).await;
    let at: String = directory.redis.get("kengine:room:lobby").await.unwrap();
    assert_eq!(at, nodes[1].address().to_string(), "one player's other connection moves no room");
    drop(bob);
    audit.passed().await;
}

#[tokio::test]
async fn a_claim_of_an_earlier_process_attracts_no_player() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let address = free_address();
    let mut node = NodeProcess::start(NODE, address, &redis.url(), LEASE).await;
    directory.count_is(address, Some(0)).await;
    let audit = Audit::start(&redis);
    let _ada = Client::connect_to(address, "/ws?uid=ada").await;
    directory.user_is("ada", Some(address.to_string())).await;
    let boot = directory.node(address, "boot").await;
    node.kill();
    let node = NodeProcess::start(NODE, address, &redis.url(), LEASE).await;
    until("another process", async || (directory.node(address, "boot").await != boot).then_some(())).await;
    let _crowd = Client::connect_to(address, "/ws?uid=bob").await;
    directory.count_is(address, Some(1)).await;
    let other = TestServer::start(Town::node(&redis.url(), LEASE)).await;
    directory.count_is(other.address(), Some(0)).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let client = GatewayClient::connect(gateway.address(), "?uid=ada").await;
    assert_ne!(client.process, Some(node.pid()), "the player was not sent to the node with the lowest load");
    audit.passed().await;
}

/// A node with three users and a room that cannot take players. Its clients do not answer a close frame.
struct Unfit {
    redis: RedisServer,
    address: SocketAddr,
    /// A node that takes all players and whose heartbeat does not come during the test.
    other: TestServer,
    _users: Vec<RawClient>,
}

impl Unfit {
    const USERS: [&str; 3] = ["ada", "bob", "cid"];

    async fn settle(redis: RedisServer, address: SocketAddr) -> Self {
        let mut directory = redis.directory().await;
        directory.count_is(address, Some(0)).await;
        let mut users = Vec::new();
        for uid in Self::USERS {
            users.push(Upgrade::new(address).path(format!("/ws?uid={uid}")).open(address).await);
            directory.user_is(uid, Some(address.to_string())).await;
        }
        directory.count_is(address, Some(3)).await;
        let other = TestServer::start(Town::node(&redis.url(), LIMIT)).await;
        directory.count_is(other.address(), Some(0)).await;
        Self { redis, address, other, _users: users }
    }

    /// Makes the users and players of the room connect again: another node must serve all of them without a wait.
    /// Returns whether any was sent to the unfit node first.
    async fn is_tried(&self) -> bool {
        let mut directory = self.redis.directory().await;
        let other = self.other.address().to_string();
        let gateway = TestGateway::start(&self.redis.url()).await;
        let queries = ["?uid=ada", "?uid=bob&room=lobby", "?uid=cid&room=lobby", "?room=lobby", "?uid=dan&room=lobby"];
        for query in queries {
            let _: () = directory.redis.set_ex("kengine:room:lobby", self.address.to_string(), 60).await.unwrap();
            drop(GatewayClient::connect(gateway.address(), query).await);
            if query.contains("room") {
                let at: String = directory.redis.get("kengine:room:lobby").await.unwrap();
                assert_eq!(at, other, "the room has not moved for {query}");
            }
        }
        let sent_to = gateway.sent_to(queries.len()).await;
        assert!(sent_to.iter().all(|nodes| nodes.ends_with(&other)), "{sent_to:?}");
        sent_to.iter().any(|nodes| nodes.contains(&self.address.to_string()))
    }
}

#[tokio::test]
async fn affinity_sends_no_player_to_a_full_node() {
    let redis = RedisServer::start().await;
    let node = TestServer::start(Town::node(&redis.url(), LEASE).max_connections(3)).await;
    let audit = Audit::start(&redis);
    let full = Unfit::settle(redis, node.address()).await;
    assert!(!full.is_tried().await, "a full node was tried");
    audit.passed().await;
}

#[tokio::test]
async fn affinity_sends_no_player_to_a_draining_node() {
    let redis = RedisServer::start().await;
    let mut node = TestServer::start(Town::node(&redis.url(), LEASE)).await;
    let audit = Audit::start(&redis);
    let draining = Unfit::settle(redis, node.address()).await;
    node.shut_down();
    let mut directory = draining.redis.directory().await;
    let mut state = async || directory.node(node.address(), "state").await;
    until("the drain", async || (state().await? == "draining").then_some(())).await;
    assert!(!draining.is_tried().await, "a draining node was tried");
    audit.passed().await;
}

#[tokio::test]
async fn affinity_sends_no_player_to_a_node_without_a_lease() {
    let redis = RedisServer::start().await;
    let node = NodeProcess::start(NODE, free_address(), &redis.url(), Duration::from_millis(900)).await;
    let audit = Audit::start(&redis);
    let silent = Unfit::settle(redis, node.address()).await;
    node.freeze();
    let mut directory = silent.redis.directory().await;
    directory.lives(node.address(), false).await;
    assert!(!silent.is_tried().await, "a node without a lease was tried");
    audit.passed().await;
}

#[tokio::test]
async fn players_of_a_killed_node_come_to_another() {
    let redis = RedisServer::start().await;
    let mut node = NodeProcess::start(NODE, free_address(), &redis.url(), LIMIT).await;
    let audit = Audit::start(&redis);
    let dead = Unfit::settle(redis, node.address()).await;
    node.kill();
    assert!(dead.is_tried().await, "a node whose lease still runs was not tried");
    audit.passed().await;
}

#[tokio::test]
async fn special_characters_in_names_have_no_effect() {
    let (longest, too_long) = ("a".repeat(64), "a".repeat(65));
    let (escaped, key_of_escaped) = ("%41".repeat(64), "A".repeat(64));
    // The room as it is written in the query, and the end of its key.
    let rooms: [(&str, Option<&str>); 13] = [
        ("{kengine}:load", Some("%7Bkengine%7D%3Aload")),
        ("%7bred%7d", Some("%7Bred%7D")),
        ("a%20b", Some("a%20b")),
        ("c+d", Some("c%20d")),
        ("100%25", Some("100%25")),
        ("%", Some("%25")),
        ("%zz", Some("%25zz")),
        ("%c3%a4%F0%9f%8E%b2", Some("%C3%A4%F0%9F%8E%B2")),
        ("*?[a]", Some("%2A%3F%5Ba%5D")),
        (&longest, Some(&longest)),
        (&escaped, Some(&key_of_escaped)),
        (&too_long, None),
        ("", None),
    ];
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let _nodes = start(&redis, 2).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let audit = Audit::start(&redis);
    let mut clients = Vec::new();
    for (room, key) in rooms {
        let query = format!("?room={room}");
        let first = GatewayClient::connect(gateway.address(), &query).await;
        let second = GatewayClient::connect(gateway.address(), &query).await;
        let keys: Vec<String> = directory.redis.keys("kengine:room:*").await.unwrap();
        let expected: Vec<_> = key.iter().map(|key| format!("kengine:room:{key}")).collect();
        assert_eq!(keys, expected, "room {room:?}");
        assert!(first.process == second.process || key.is_none(), "room {room:?}");
        clients.extend([first, second]);
        let _: () = directory.redis.del(("kengine:room:", keys)).await.unwrap();
    }

    // The uid as it is written in the query, and the end of its key.
    let users = [("%7Bada%7D%20%25:*", "%7Bada%7D%20%25%3A%2A"), ("a+d%c3%a4", "a%20d%C3%A4")];
    for (uid, key) in users {
        let mut first = GatewayClient::connect(gateway.address(), &format!("?uid={uid}")).await;
        until("a claim", async || directory.user(key).await).await;
        let second = GatewayClient::connect(gateway.address(), &format!("?uid={uid}")).await;
        assert_eq!(first.process, second.process, "user {uid}");
        assert_eq!(first.connection.frame().await, "close 4500");
    }
    for uid in ["%00%01%0A", &"a".repeat(129), ""] {
        let upgrade = Upgrade::new(gateway.address()).path(format!("/ws?uid={uid}"));
        let refused = upgrade.ask(gateway.address()).await;
        assert_eq!(refused.status, 400, "user {uid:?}");
    }
    audit.passed().await;
}

#[tokio::test]
async fn each_arrival_extends_the_lifetime_of_a_room() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let node = TestServer::start(Town::node(&redis.url(), LEASE)).await;
    directory.count_is(node.address(), Some(0)).await;
    let gateway = Gateway::new(&*redis.url()).room_lifetime(Duration::from_secs(100));
    let gateway = TestGateway::start_from(gateway).await;
    for _ in 0..2 {
        GatewayClient::connect(gateway.address(), "?room=lobby").await;
        let left: i64 = directory.redis.pttl("kengine:room:lobby").await.unwrap();
        assert!((50_001..=100_000).contains(&left), "{left} ms");
        let _: () = directory.redis.pexpire("kengine:room:lobby", 50_000).await.unwrap();
    }
}
