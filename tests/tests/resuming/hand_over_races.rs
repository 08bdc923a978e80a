//! Two places want a session at the same moment: several nodes, or a node and the client of the old one. One of them
//! gets it, and the uid with it.

use std::time::Duration;

use futures_util::{StreamExt, future::join_all};
use kengine::cluster::Redis;
use kengine_tests::{Line, Network, RedisServer, ReturningClient, TestServer, until, within};
use redis::aio::PubSub;
use serde_json::Value;

use crate::hand_over_faults::{Cluster, REPLACED, Stalled, raw, subscribers_are};
use crate::handing_over::{Node, come_back_to};

fn connections(servers: &[&TestServer]) -> Vec<usize> {
    servers.iter().map(|server| server.hub().user("ada").connections()).collect()
}

#[tokio::test]
async fn of_two_nodes_that_ask_for_one_token_one_gets_the_session() {
    for round in 0..10 {
        let mut cluster = Cluster::start("").await;
        cluster.drain().await;
        let mut sockets = join_all([raw(&cluster.new, &cluster.ada), raw(&cluster.other, &cluster.ada)]).await;
        if round % 2 == 1 {
            sockets.swap(0, 1);
        }
        let mut answers = Vec::new();
        for socket in &mut sockets {
            answers.push(socket.frame().await);
        }
        let resumed = answers.iter().filter(|answer| answer.contains(r#""resumed":true"#)).count();
        assert!(resumed <= 1, "{answers:?}");
        // Whoever has lost was told so, or was cut off because the client has come to the other node.
        let other = answers.iter().filter(|answer| answer.contains(r#""resumed":false"#)).count();
        assert!(resumed + other >= 1, "{answers:?}");
        // The uid has one connection in the end, also if the session has not left the node that drains.
        let servers = [&cluster.old.server, &cluster.new.server, &cluster.other.server];
        let holder = until("one connection", async || {
            let counts = connections(&servers);
            (counts.iter().sum::<usize>() == 1).then(|| counts.iter().position(|count| *count == 1)).flatten()
        })
        .await;
        let address = servers[holder].address().to_string();
        cluster.redis.directory().await.user_is("ada", Some(address)).await;
        let notes = cluster.old.harbor.notes();
        assert!(notes.is_empty() || notes == [REPLACED], "its time is not over: {notes:?}");
        cluster.old.server.ended().await;
        drop(sockets);
    }
}

#[tokio::test]
async fn a_node_that_is_superseded_while_it_joins_the_rooms_is_never_ready() {
    let mut stalled = Stalled::start("").await;
    let Stalled { cluster, .. } = &mut stalled;
    let third = Node::start(&cluster.redis).await;
    let mut superseded = None;
    let coming = async {
        superseded = Some(raw(&cluster.new, &cluster.ada).await);
        subscribers_are(&cluster.redis, 4).await;
        // Both wait for the node that does not answer.
        come_back_to(&third, &mut cluster.ada).await
    };
    assert!(coming.await);
    assert_eq!(superseded.expect("a socket").frame().await, "end of TCP");
    assert_eq!(third.harbor.noted(1).await, ["resume ada"]);
    cluster.redis.directory().await.user_is("ada", Some(third.server.address().to_string())).await;
    assert_eq!(connections(&[&cluster.old.server, &cluster.new.server, &third.server]), [0, 0, 1]);
    cluster.ada.leave().await;
    third.server.stop().await;
    let Stalled { cluster, silent, network: _network } = stalled;
    drop(silent);
    cluster.stop().await;
}

/// The new node is ready, but the client has come back to the node that has the session.
#[tokio::test]
async fn a_session_that_stays_although_another_node_was_ready_keeps_its_uid() {
    let mut stalled = Stalled::start_cut().await;
    let Stalled { cluster, network, .. } = &mut stalled;
    let mut elsewhere = raw(&cluster.new, &cluster.ada).await;
    Stalled::stall(&cluster.redis, network).await;
    let mut directory = cluster.redis.directory().await;
    directory.user_is("ada", Some(cluster.new.server.address().to_string())).await;
    assert!(come_back_to(&cluster.old, &mut cluster.ada).await);
    network.set(Network::Good);
    let last = elsewhere.frame().await;
    assert_eq!(last, "end of TCP");
    directory.user_is("ada", Some(cluster.old.server.address().to_string())).await;
    // The other nodes find her.
    cluster.other.server.hub().user("ada").send(&Line(3)).expect("a bus that works");
    cluster.ada.expect(r#"{"method":"line","message":3}"#).await;
    // A newer connection replaces the session.
    let mut newer = ReturningClient::connect(cluster.other.server.address(), "ada").await;
    cluster.ada.expect("close 4500").await;
    cluster.ada_has_left().await;
    assert_eq!(newer.ask("count", 1, 1).await, "1: 1");
    newer.leave().await;
    cluster.old.server.shut_down();
    let Stalled { cluster, silent, network: _network } = stalled;
    drop(silent);
    cluster.stop().await;
}

/// Subscribes to what this node is told.
async fn overhear(redis: &RedisServer, node: &Node) -> PubSub {
    let boot = redis.directory().await.node(node.server.address(), "boot").await.expect("a boot id");
    let mut overheard = redis::Client::open(redis.url()).unwrap().get_async_pubsub().await.unwrap();
    overheard.subscribe(format!("kengine:bus:node:{boot}")).await.unwrap();
    overheard
}

/// Waits until the node is asked for a session.
async fn is_asked(overheard: &mut PubSub) {
    let mut messages = overheard.on_message();
    let asked = async {
        while let Some(message) = messages.next().await {
            if String::from_utf8_lossy(message.get_payload_bytes()).contains(r#"{"Session":"#) {
                return;
            }
        }
        panic!("Redis has closed the connection");
    };
    within("a question for a session", asked).await;
}

#[tokio::test]
async fn a_node_that_is_told_to_end_at_once_does_not_wait_for_a_session() {
    let mut cluster = Cluster::start("").await;
    let configure = |server: kengine::Server<kengine_tests::Harbor>| {
        server.cluster(Redis::new(cluster.redis.url())).drain_timeout(Duration::from_millis(100))
    };
    let mut impatient = Node::start_with(&cluster.redis, configure).await;
    cluster.ada.request("wait", Value::Null, 2).await;
    cluster.old.harbor.gate.arrived(1).await;
    cluster.old.server.shut_down();
    cluster.ada.cut();
    let mut overheard = overhear(&cluster.redis, &cluster.old).await;
    let mut socket = raw(&impatient, &cluster.ada).await;
    // It does not get the session while the handler runs.
    is_asked(&mut overheard).await;
    impatient.server.shut_down();
    impatient.server.ended().await;
    // A node that waits until it is refused begins another session instead, which has the uid.
    assert_eq!(socket.frame().await, "end of TCP");
    assert_eq!(impatient.harbor.notes(), [""; 0]);
    let there = cluster.old.server.address().to_string();
    assert_eq!(cluster.redis.directory().await.user("ada").await, Some(there));
    cluster.old.harbor.gate.open(1);
    assert!(come_back_to(&cluster.new, &mut cluster.ada).await);
    cluster.ada.leave().await;
    cluster.stop().await;
}
