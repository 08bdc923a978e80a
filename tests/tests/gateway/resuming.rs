//! The gateway sends a player who resumes a connection to the node that the token names.

use std::time::Duration;

use kengine::cluster::gateway::Gateway;
use kengine_tests::{
    Audit, GatewayClient, NodeProcess, RawClient, RedisServer, TestGateway, TestServer, Town, Upgrade, free_address,
    until,
};
use redis::AsyncCommands;

const NODE: &str = env!("CARGO_BIN_EXE_node");
/// Long enough for a node on a busy machine to renew it in time.
const LEASE: Duration = Duration::from_secs(6);
/// The part of a token that only the node understands.
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Returns the tag of a node.
async fn tag(redis: &RedisServer, address: impl ToString) -> String {
    let boot = redis.directory().await.node(address, "boot").await.expect("a node");
    boot[..8].to_owned()
}

/// Returns the query of a player who resumes a connection to this node.
async fn resume(redis: &RedisServer, address: impl ToString) -> String {
    format!("resume={}-{SECRET}&received=7", tag(redis, address).await)
}

async fn open(gateway: &TestGateway, query: &str) -> RawClient {
    Upgrade::new(gateway.address()).path(format!("/ws?{query}")).open(gateway.address()).await
}

async fn connections_are(nodes: &[&TestServer], expected: &[usize]) {
    let connections = || nodes.iter().map(|node| node.hub().connections()).collect::<Vec<_>>();
    until(&format!("the connections {expected:?}"), async || (connections() == expected).then_some(())).await;
}

/// Connects players to a node until it has this load in the directory.
async fn crowd(redis: &RedisServer, node: &TestServer, count: usize) -> Vec<RawClient> {
    let mut players = Vec::new();
    for _ in 0..count {
        players.push(RawClient::connect(node.address()).await);
    }
    redis.directory().await.count_is(node.address(), Some(count)).await;
    players
}

#[tokio::test]
async fn the_node_of_a_token_comes_before_load_versions_user_and_room() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let holder = redis.serve(Town::node(&redis.url(), LEASE)).await;
    let other = redis.serve(Town::node(&redis.url(), LEASE).version("2")).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let audit = Audit::start(&redis);
    let _crowd = crowd(&redis, &holder, 5).await;
    let _ada = Upgrade::new(other.address()).path("/ws?uid=ada").open(other.address()).await;
    let there = other.address().to_string();
    directory.user_is("ada", Some(there.clone())).await;
    let _: () = directory.redis.set_ex("kengine:room:lobby", &there, 60).await.unwrap();
    let token = resume(&redis, holder.address()).await;
    let seats = redis.calls("zincrby").await;
    let mut players = Vec::new();
    for query in
        [token.clone(), format!("room=lobby&{token}"), format!("{token}&room=arena"), format!("uid=ada&{token}")]
    {
        players.push(open(&gateway, &query).await);
    }
    connections_are(&[&holder, &other], &[9, 0]).await;
    assert_eq!(redis.calls("zincrby").await, seats, "a seat was reserved for a player who has one");
    let rooms: (String, Option<String>) =
        directory.redis.mget(&["kengine:room:lobby", "kengine:room:arena"]).await.unwrap();
    assert_eq!(rooms, (there, None), "one player's token moves and places no room");
    // Everybody else goes to the other node.
    players.push(open(&gateway, "room=arena").await);
    connections_are(&[&holder, &other], &[9, 1]).await;
    audit.passed().await;
}

#[tokio::test]
async fn a_full_node_is_asked_first() {
    let redis = RedisServer::start().await;
    let full = redis.serve(Town::node(&redis.url(), LEASE).max_connections(1)).await;
    let other = redis.serve(Town::node(&redis.url(), LEASE)).await;
    let _crowd = crowd(&redis, &full, 1).await;
    let query = resume(&redis, full.address()).await;
    let gateway = TestGateway::start(&redis.url()).await;
    redis.nodes_are_read().await;
    // The first refusal makes the gateway avoid the node, but not for players whose sessions it may have.
    for _ in 0..3 {
        let requests = gateway.accesses().lines().count();
        drop(open(&gateway, &query).await);
        let sent_to = gateway.sent_to(requests + 1).await;
        assert_eq!(sent_to[requests], format!("{} : {}", full.address(), other.address()));
    }
    assert_eq!(gateway.errors(), "");
}

#[tokio::test]
async fn the_players_of_a_node_that_drains_go_to_the_newest_version() {
    let redis = RedisServer::start().await;
    let mut draining = redis.serve(Town::node(&redis.url(), LEASE).version("1")).await;
    let _old = redis.serve(Town::node(&redis.url(), LEASE).version("1")).await;
    let new = redis.serve(Town::node(&redis.url(), LEASE).version("2")).await;
    // Its client does not answer the close frame, so the drain does not end.
    let _crowds = (crowd(&redis, &draining, 1).await, crowd(&redis, &new, 5).await);
    let query = resume(&redis, draining.address()).await;
    let gateway = TestGateway::start(&redis.url()).await;
    redis.nodes_are_read().await;
    draining.shut_down();
    let mut directory = redis.directory().await;
    until("the drain", async || (directory.node(draining.address(), "state").await? == "draining").then_some(())).await;
    // Until the gateway knows of the drain, it asks the node, which refuses.
    until("the gateway to know of the drain", async || {
        let requests = gateway.accesses().lines().count();
        drop(open(&gateway, &query).await);
        let sent_to = gateway.sent_to(requests + 1).await;
        assert!(sent_to[requests].ends_with(&new.address().to_string()), "{sent_to:?}");
        (sent_to[requests] == new.address().to_string()).then_some(())
    })
    .await;
    assert_eq!(gateway.errors(), "");
}

#[tokio::test]
async fn a_node_that_is_gone_does_not_keep_its_players_waiting() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let node = NodeProcess::start(NODE, free_address(), &redis.url(), Duration::from_millis(900)).await;
        directory.count_is(node.address(), Some(0)).await;
        nodes.push(node);
    }
    let (mut killed, hung) = (nodes.remove(0), nodes.remove(0));
    let other = redis.serve(Town::node(&redis.url(), LEASE)).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let queries = [resume(&redis, killed.address()).await, resume(&redis, hung.address()).await];
    hung.freeze();
    directory.lives(hung.address(), false).await;
    killed.kill();
    directory.lives(killed.address(), false).await;
    // Until the gateway has read the nodes again, it tries the killed one.
    until("the gateway to forget a node", async || {
        let requests = gateway.accesses().lines().count();
        drop(open(&gateway, &queries[0]).await);
        let sent_to = gateway.sent_to(requests + 1).await;
        assert!(sent_to[requests].ends_with(&other.address().to_string()));
        (sent_to[requests] == other.address().to_string()).then_some(())
    })
    .await;
    let _player = open(&gateway, &queries[1]).await;
    connections_are(&[&other], &[1]).await;
}

#[tokio::test]
async fn a_node_that_has_just_joined_is_found() {
    let redis = RedisServer::start().await;
    let other = redis.serve(Town::node(&redis.url(), LEASE)).await;
    let gateway = TestGateway::start(&redis.url()).await;
    redis.nodes_are_read().await;
    for _ in 0..4 {
        let new = redis.serve(Town::node(&redis.url(), LEASE)).await;
        let _crowd = crowd(&redis, &new, 1).await;
        let _player = open(&gateway, &resume(&redis, new.address()).await).await;
        connections_are(&[&new, &other], &[2, 0]).await;
        new.stop().await;
    }
}

#[tokio::test]
async fn tokens_hold_while_redis_is_away() {
    let mut redis = RedisServer::start().await;
    let nodes =
        [redis.serve(Town::node(&redis.url(), LEASE)).await, redis.serve(Town::node(&redis.url(), LEASE)).await];
    let gateway = TestGateway::start_as_shipped(Gateway::new(redis.url()).idle_timeout(Town::IDLE_TIME)).await;
    redis.nodes_are_read().await;
    let query = resume(&redis, nodes[1].address()).await;
    redis.kill();
    let mut players = Vec::new();
    for _ in 0..6 {
        players.push(open(&gateway, &query).await);
    }
    connections_are(&[&nodes[0], &nodes[1]], &[0, 6]).await;
    // An unknown tag is no reason to wait for Redis.
    for _ in 0..4 {
        players.push(open(&gateway, &format!("resume=ffffffff-{SECRET}")).await);
    }
    connections_are(&[&nodes[0], &nodes[1]], &[2, 8]).await;
}

#[tokio::test]
async fn what_is_not_written_like_a_token_is_none() {
    let redis = RedisServer::start().await;
    let holder = redis.serve(Town::node(&redis.url(), LEASE)).await;
    let other = redis.serve(Town::node(&redis.url(), LEASE)).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let tag = tag(&redis, holder.address()).await;
    let _crowd = crowd(&redis, &holder, 100).await;
    let (token, unknown) = (format!("{tag}-{SECRET}"), format!("ffffffff-{SECRET}"));
    let mut queries = vec![
        format!("resume={tag}"),
        format!("resume={tag}-"),
        format!("resume={tag}-{}", &SECRET[1..]),
        format!("resume={token}0"),
        format!("resume={}-{SECRET}", &tag[1..]),
        format!("resume=0{token}"),
        format!("resume={tag}{SECRET}"),
        format!("resume={tag}_{SECRET}"),
        format!("resume={tag}-{}", SECRET.to_uppercase()),
        format!("resume={tag}-{}", SECRET.replace('f', "g")),
        format!("resume={tag}%2D{SECRET}"),
        format!("resume=%{:02x}{}", token.as_bytes()[0], &token[1..]),
        format!("%72esume={token}"),
        format!("resume= {token}").replace(' ', "+"),
        format!("resume={token}%20"),
        format!("resume=={token}"),
        format!("Resume={token}"),
        format!("xresume={token}"),
        format!("x?resume={token}"),
        format!("x;resume={token}"),
        format!("token={token}"),
        format!("resume={token};received=7"),
        format!("resume={token}&resume={token}"),
        format!("resume={token}&resume={unknown}"),
        format!("resume={unknown}&resume={token}"),
        format!("resume=&resume={token}"),
        format!("resume&resume={token}"),
        format!("resume={token}&%72esume={token}"),
        format!("resume={token}&a=b&resume"),
        format!("resume={unknown}"),
        format!("resume={tag}-{SECRET}{}", "0".repeat(8000)),
        format!("resume={}", "resume=".repeat(1000)),
        format!("resume=.*-{SECRET}"),
        format!("resume=%25x%25x%25x%25x-{SECRET}"),
        format!("resume=********-{SECRET}"),
    ];
    queries.push(format!("resume={}", "%5b".repeat(2000)));
    for query in &queries {
        drop(open(&gateway, query).await);
        let shown = &query[..query.len().min(80)];
        connections_are(&[&holder], &[100]).await;
        connections_are(&[&other], &[0]).await;
        assert!(gateway.accesses().lines().all(|line| !line.contains(&holder.address().to_string())), "{shown}");
    }
    let sent_to = gateway.sent_to(queries.len()).await;
    assert!(sent_to.iter().all(|node| *node == other.address().to_string()), "{sent_to:?}");
    let huge = format!("/ws?resume={tag}-{}", "0".repeat(1_000_000));
    assert_eq!(Upgrade::new(gateway.address()).path(huge).ask(gateway.address()).await.status, 414);
    // The token itself works, also with what is no token of the same length beside it.
    let client = GatewayClient::connect(gateway.address(), &format!("?received=7&resume={token}&")).await;
    connections_are(&[&holder, &other], &[101, 0]).await;
    drop(client);
    assert_eq!(gateway.errors(), "");
}
