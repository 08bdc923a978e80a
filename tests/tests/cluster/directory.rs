//! A cluster in Redis: what the directory holds about nodes, whatever happens to them.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use kengine::{Server, StartError, cluster::Redis};
use kengine_tests::{
    Directory, Lobby, Log, Network, NodeProcess, Proxy, RedisServer, Said, TestServer, Town, Upgrade, every_row,
    free_address, until,
};
use redis::AsyncCommands;
use tokio::time::timeout;
use tracing::Level;

const NODE: &str = env!("CARGO_BIN_EXE_node");
const LEASE: Duration = Duration::from_millis(1500);

/// Waits until another process than `before` is in the directory; returns its boot id.
async fn joined(directory: &mut Directory, address: SocketAddr, before: Option<&String>) -> String {
    let joined = async || directory.node(address, "boot").await.filter(|boot| Some(boot) != before);
    until("a node in the directory", joined).await
}

/// Returns the answer of `/readyz`: the status, and the body or the error's code.
async fn ready(server: &TestServer) -> (u16, String) {
    let response = Upgrade::new(server.address()).path("/readyz").ask(server.address()).await;
    match response.status {
        200 => (200, response.body.trim().to_owned()),
        status => (status, response.error_code()),
    }
}

async fn is_ready(server: &TestServer, status: u16, says: &str) {
    let expected = (status, says.to_owned());
    until("another answer of `/readyz`", async || (ready(server).await == expected).then_some(())).await;
}

#[tokio::test]
async fn a_node_logs_once_that_it_is_in_the_directory() {
    let redis = RedisServer::start().await;
    let log = Log::start(Level::INFO);
    let server = TestServer::start(Town::node(&redis.url(), LEASE)).await;
    let lines = || log.lines_with("this node is in the directory");
    until("the line", async || (!lines().is_empty()).then_some(())).await;
    server.stop().await;
    assert_eq!(lines().len(), 1, "{}", log.text());
}

#[tokio::test]
async fn a_node_is_listed_with_its_count_until_it_goes() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let mut server = TestServer::start(Town::node(&redis.url(), LEASE)).await;
    let address = server.address();
    directory.count_is(address, Some(0)).await;
    assert_eq!(directory.listed().await, [address.to_string()]);

    let mut players = Vec::new();
    for number in 0..100 {
        players.push(Town::connect(address, number).await);
    }
    let connected = Instant::now();
    directory.count_is(address, Some(100)).await;
    eprintln!("100 players were counted {:?} after the last had come", connected.elapsed());
    let load: usize = directory.redis.zscore("{kengine}:load", address.to_string()).await.unwrap();
    assert_eq!(load, 100);
    directory.user_is("99", Some(address.to_string())).await;
    players.truncate(50);
    directory.count_is(address, Some(50)).await;
    directory.user_is("99", None).await;
    directory.user_is("3", Some(address.to_string())).await;

    server.shut_down();
    for player in &mut players {
        assert_eq!(player.next().await, "close 4000");
    }
    drop(players);
    server.ended().await;
    assert_eq!(directory.keys().await, [""; 0]);
}

#[tokio::test]
async fn sigterm_removes_the_counter_250_ms_after_the_entry() {
    /// Returns a snapshot: how many nodes are listed, whether the counter exists, the lease, and the time, in
    /// milliseconds.
    const SNAPSHOT: &str = "
        local time = redis.call('TIME')
        local lease = tonumber(redis.call('HGET', KEYS[3], KEYS[2]) or 0)
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        return {redis.call('LLEN', KEYS[1]), redis.call('EXISTS', KEYS[2]), lease, now}";
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let node = redis.spawn_node(NODE, LEASE).await;
    let address = node.address();
    let mut players = Vec::new();
    for number in 0..10 {
        players.push(Town::connect(address, number).await);
    }
    directory.count_is(address, Some(10)).await;
    node.terminate();
    // The players keep reading, so they answer the close frame.
    let closing = tokio::spawn(async move {
        for player in &mut players {
            assert_eq!(player.next().await, "close 4000");
        }
    });
    let mut left = 0;
    let gone = until("the end of the counter", async || {
        let mut call = redis::cmd("EVAL");
        call.arg(SNAPSHOT).arg(3).arg("NODE_HOST_LIST").arg(address.to_string()).arg("{kengine}:lease");
        let seen = call.query_async(&mut directory.redis).await.unwrap();
        let (listed, counted, lease, now): (usize, bool, i64, i64) = seen;
        assert!(listed == 0 || counted, "the node is listed without a counter");
        // The lease of a node that is gone holds, negated, when it left; a listed node has not left yet.
        left = left.max(if listed > 0 { now } else { -lease });
        (!counted).then_some(now)
    })
    .await;
    assert!(gone - left >= 250, "the counter was gone {} ms after the node had left", gone - left);
    closing.await.unwrap();
    node.ended().await;
    assert_eq!(directory.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_draining_node_sends_its_players_away_gradually() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let mut server = TestServer::start(Town::node(&redis.url(), LEASE)).await;
    let mut players = Vec::new();
    for number in 0..200 {
        players.push(Town::connect(server.address(), number).await);
    }
    directory.count_is(server.address(), Some(200)).await;
    let begun = Instant::now();
    server.shut_down();
    for player in &mut players {
        assert_eq!(player.next().await, "close 4000");
    }
    let took = begun.elapsed();
    // 20 players are closed every 10 ms.
    assert!(took >= Duration::from_millis(90), "all were sent away within {took:?}");
    drop(players);
    server.ended().await;
}

#[tokio::test]
async fn ten_restarts_after_a_kill_leave_one_entry() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let address = free_address();
    let mut boot = None;
    for _ in 0..10 {
        let mut node = NodeProcess::start(NODE, address, &redis.url(), LEASE).await;
        boot = Some(joined(&mut directory, address, boot.as_ref()).await);
        let _players = [Town::connect(address, "ada").await, Town::connect(address, "bob").await];
        directory.count_is(address, Some(2)).await;
        node.kill();
    }
    let node = NodeProcess::start(NODE, address, &redis.url(), LEASE).await;
    joined(&mut directory, address, boot.as_ref()).await;
    directory.count_is(address, Some(0)).await;
    let _players = [Town::connect(address, "ada").await];
    directory.count_is(address, Some(1)).await;
    assert_eq!(directory.listed().await, [address.to_string()]);
    drop(node);
}

#[tokio::test]
async fn a_killed_or_frozen_node_is_removed_from_the_directory() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let lease = Duration::from_millis(600);
    let server = TestServer::start(Town::node(&redis.url(), lease)).await;
    let mut node = NodeProcess::start(NODE, free_address(), &redis.url(), lease).await;
    let (here, there) = (server.address().to_string(), node.address());
    let boot = joined(&mut directory, there, None).await;
    let mut ada = Town::connect(there, "ada").await;
    directory.user_is("ada", Some(there.to_string())).await;

    node.freeze();
    let frozen = Instant::now();
    directory.count_is(there, None).await;
    eprintln!("the frozen node was gone after {:?}; {:?} is the documented limit", frozen.elapsed(), lease * 5 / 3);
    assert_eq!(directory.listed().await, [&*here]);
    node.thaw();
    directory.count_is(there, Some(1)).await;
    assert_eq!(joined(&mut directory, there, None).await, boot, "the same process");
    assert_eq!(ada.ask(r#"{"method":"who","message":"lobby","id":1}"#).await, "1: []");

    node.kill();
    let killed = Instant::now();
    directory.count_is(there, None).await;
    eprintln!("the killed node was gone after {:?}", killed.elapsed());
    let mut keys = directory.keys().await;
    keys.sort();
    let nodes_key = format!("{{kengine}}:node:{here}");
    let expected = [&*here, "NODE_HOST_LIST", "kengine:user:ada", "{kengine}:lease", "{kengine}:load", &nodes_key];
    assert_eq!(keys, expected);
    assert_eq!(directory.redis.hlen::<_, usize>("{kengine}:lease").await.unwrap(), 1);
    assert_eq!(directory.redis.zcard::<_, usize>("{kengine}:load").await.unwrap(), 1);
    server.stop().await;
}

#[tokio::test]
async fn readyz_tells_whether_a_node_is_in_the_directory() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::start(redis.port()).await;
    proxy.set(Network::Refused);
    let server = TestServer::start(Town::node(&proxy.url(), 2 * LEASE)).await;
    assert_eq!(ready(&server).await, (503, "unavailable".to_owned()));
    proxy.set(Network::Good);
    is_ready(&server, 200, "ready").await;
    for network in [Network::Refused, Network::Stalled] {
        proxy.set(network);
        is_ready(&server, 200, r#"{"directory":"away"}"#).await;
        is_ready(&server, 200, r#"{"directory":"away","lease":"expired"}"#).await;
        proxy.set(Network::Good);
        is_ready(&server, 200, "ready").await;
    }
    let mut directory = redis.directory().await;
    assert_eq!(directory.listed().await, [server.address().to_string()]);
    server.stop().await;
}

#[tokio::test]
async fn a_node_leaves_even_if_its_connection_breaks() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let proxy = Proxy::start(redis.port()).await;
    for how in ["at once", "while it drains", "without an answer"] {
        let mut server = TestServer::start(Town::node(&proxy.url(), LEASE)).await;
        is_ready(&server, 200, "ready").await;
        match how {
            "at once" => proxy.reset(),
            "without an answer" => proxy.set(Network::Mute),
            _ => {}
        }
        server.shut_down();
        // This happens soon, unless the node still waits for an earlier answer.
        let unlisted = until("the list", async || directory.listed().await.is_empty().then_some(()));
        let _ = timeout(Duration::from_millis(300), unlisted).await;
        proxy.set(Network::Good);
        proxy.reset();
        server.ended().await;
        assert_eq!(directory.keys().await, [""; 0], "{how}");
    }
}

#[tokio::test]
async fn the_later_of_two_processes_has_their_address() {
    const ADDRESS: &str = "game.example:8000";
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let proxy = Proxy::start(redis.port()).await;
    let node = |url: String| {
        let redis = Redis::new(url).lease(LEASE).advertise(ADDRESS);
        TestServer::start(Server::new(Town).cluster(redis))
    };
    let earlier = node(proxy.url()).await;
    is_ready(&earlier, 200, "ready").await;
    let boot = directory.node(ADDRESS, "boot").await.unwrap();
    let later = node(redis.url()).await;
    is_ready(&later, 200, "ready").await;
    // The earlier process does not take the address back when it reconnects, before it has noticed or later.
    proxy.reset();
    is_ready(&earlier, 503, "unavailable").await;
    let player = Town::connect(later.address(), "ada").await;
    directory.count_is(ADDRESS, Some(1)).await;
    proxy.reset();
    directory.heard_of(ADDRESS, 3).await;
    assert_eq!(ready(&later).await.0, 200);
    // It does not touch the entry either when it leaves.
    let mut ada = Town::connect(earlier.address(), "eve").await;
    assert_eq!(ada.ask(r#"{"method":"who","message":"lobby","id":1}"#).await, "1: []");
    assert_eq!(ready(&earlier).await.0, 503);
    drop(ada);
    earlier.stop().await;
    assert_eq!(directory.listed().await, [ADDRESS]);
    assert_eq!(directory.count(ADDRESS).await, Some(1));
    assert_ne!(directory.node(ADDRESS, "boot").await.unwrap(), boot);
    drop(player);
    later.stop().await;
}

#[tokio::test]
async fn an_unreachable_address_is_an_error_at_start() {
    let rows = [
        ("all of IPv4", "0.0.0.0:0", None),
        ("all of IPv6", "[::]:0", None),
        ("a configured wildcard", "127.0.0.1:0", Some("0.0.0.0:8000")),
        ("a configured wildcard of IPv6", "127.0.0.1:0", Some("[::]:8000")),
        ("no port", "127.0.0.1:0", Some("game.example")),
        ("port 0", "127.0.0.1:0", Some("game.example:0")),
        ("no host", "127.0.0.1:0", Some(":8000")),
        ("a space", "127.0.0.1:0", Some("game example:8000")),
        ("a line break", "127.0.0.1:0", Some("game\n:8000")),
    ];
    every_row(rows.map(|(name, listen, advertise)| (name, (listen, advertise))), async |(listen, advertise)| {
        let redis = Redis::new("redis://127.0.0.1/");
        let redis = match advertise {
            Some(address) => redis.advertise(address),
            None => redis,
        };
        let server = || Server::new(Lobby).cluster(redis.clone());
        let bind = server().bind(listen).await.expect_err("an error");
        let listener = tokio::net::TcpListener::bind(listen).await.expect("a free port");
        let bind_to = server().bind_to(listener).expect_err("an error");
        let hint = if advertise.is_some() { "10.0.0.7:8000" } else { "Redis::advertise" };
        for error in [bind, bind_to] {
            assert!(matches!(error, StartError::Redis { .. }), "{error}");
            assert!(error.to_string().contains(hint), "{error}");
        }
    })
    .await;
    let redis = Redis::new("redis://127.0.0.1/").advertise("10.0.0.7:8000");
    let bound = Server::new(Lobby).cluster(redis).bind("0.0.0.0:0").await;
    assert!(bound.is_ok(), "{bound:?}");
    let no_url = Server::new(Lobby).cluster(Redis::new("127.0.0.1:6379")).bind("127.0.0.1:0").await;
    assert!(matches!(no_url.expect_err("no URL"), StartError::Redis { .. }));
}

#[tokio::test]
async fn special_characters_in_names_have_no_effect() {
    const ROOM: &str = "{a} *? %20:\u{e4}";
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let nodes = [(); 2].map(|()| TestServer::start(Town::node(&redis.url(), LEASE)));
    let [one, other] = nodes;
    let (one, other) = (one.await, other.await);
    for server in [&one, &other] {
        directory.count_is(server.address(), Some(0)).await;
    }
    let mut ada = Town::connect(one.address(), "%7Bada%7D:%25%20*").await;
    let mut bob = Town::connect(other.address(), "bob").await;
    let join = serde_json::json!({"method": "join", "message": ROOM, "id": 1}).to_string();
    let say = serde_json::json!({"method": "say", "message": [ROOM, "hello"], "id": 2}).to_string();
    for player in [&mut ada, &mut bob] {
        assert_eq!(player.ask(&*join).await, "1: null");
    }
    assert_eq!(ada.ask(say).await, "2: 0");
    assert_eq!(bob.next().await, Said::text("hello"));
    directory.user_is("%7Bada%7D%3A%25%20%2A", Some(one.address().to_string())).await;
    assert_eq!(bob.ask(r#"{"method":"tell","message":["{ada}:% *","psst"],"id":3}"#).await, "3: 0");
    assert_eq!(ada.next().await, Said::text("psst"));
    drop((ada, bob));
    one.stop().await;
    other.stop().await;
    assert_eq!(directory.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_node_needs_only_the_documented_rights_in_redis() {
    let user = ["--user", "game", "on", ">secret", "~NODE_HOST_LIST", "~127.0.0.1:*", "~{kengine}:*"];
    let user = [&user[..], &["~kengine:*", "&kengine:bus:*", "-@all", "+@connection", "+@pubsub", "+@scripting"]];
    let user = [&user.concat()[..], &["+@read", "+@write", "+time"]].concat();
    let redis = RedisServer::start_with(&user).await;
    let url = |user: &str| redis.url().replace("://", &format!("://{user}@"));
    let locked_out = TestServer::start(Town::node(&url("game:wrong"), LEASE)).await;
    let nodes = [TestServer::start(Town::node(&url("game:secret"), LEASE)).await, {
        TestServer::start(Town::node(&url("game:secret"), LEASE)).await
    }];
    let mut directory = redis.directory().await;
    for node in &nodes {
        is_ready(node, 200, "ready").await;
        directory.count_is(node.address(), Some(0)).await;
    }
    let mut ada = Town::connect(nodes[0].address(), "ada").await;
    let mut bob = Town::connect(nodes[1].address(), "bob").await;
    for player in [&mut ada, &mut bob] {
        Town::join_lobby(player).await;
    }
    ada.send(r#"{"method":"say","message":["lobby","hello"]}"#).await;
    assert_eq!(bob.next().await, Said::text("hello"));
    assert_eq!(ready(&locked_out).await.0, 503);
    drop((ada, bob));
    for node in nodes {
        node.stop().await;
    }
    locked_out.stop().await;
    assert_eq!(directory.keys().await, [""; 0]);
}
