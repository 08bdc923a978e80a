//! Rooms across nodes: each member gets every send once and in order, from whichever node it comes.
//!
//! `KENGINE_STRESS_SECONDS` sets how many seconds the test takes; `.ci/long` sets more than the default.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, future::join_all};
use kengine::{CloseCode, Duplicates, Hub, StartError, push::SendError};
use kengine_tests::{RedisServer, RoomMember, Said, Sends, TestServer, Town, heavy_test, stress_time, until, within};
use redis::aio::PubSub;
use tokio::sync::Semaphore;

const LEASE: Duration = Duration::from_secs(6);
const NODES: usize = 3;
/// The number of members on each node.
const MEMBERS: usize = 100;
/// The number of each node's members that leave and join again all the time.
const MOVERS: usize = 10;
const SENDERS: usize = 30;
/// The interval of each sender. All senders together send 500 times a second, if the machine delivers that.
const EVERY: Duration = Duration::from_millis(1000 * SENDERS as u64 / 500);

async fn nodes(redis: &RedisServer, count: usize) -> Vec<TestServer> {
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(redis.serve(Town::node(&redis.url(), LEASE)).await);
    }
    nodes
}

/// The channels of all rooms.
struct RoomsOnTheBus(PubSub);

impl RoomsOnTheBus {
    async fn of(redis: &RedisServer) -> Self {
        let client = redis::Client::open(redis.url()).unwrap();
        let mut channels = client.get_async_pubsub().await.unwrap();
        channels.psubscribe("kengine:bus:room:*").await.unwrap();
        Self(channels)
    }

    /// Returns how many messages were published since the last call, with all that this node has sent.
    async fn messages(&mut self, hub: &Hub) -> usize {
        // The node publishes its messages in their order, this one too: it does not know who is in that room.
        hub.room("fence").send(&Said("fence".into())).unwrap();
        let mut stream = self.0.on_message();
        let mut messages = 0;
        while stream.next().await.unwrap().get_channel_name() != "kengine:bus:room:fence" {
            messages += 1;
        }
        messages
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_gets_every_send_once_and_in_order() {
    let _turn = heavy_test().await;
    let redis = RedisServer::start().await;
    let servers = nodes(&redis, NODES).await;
    let sends = Sends::<SENDERS>::between(NODES);
    let [stop_moving, stop_sending] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let here = Arc::new(Semaphore::new(0));
    let done = Arc::new(Semaphore::new(0));
    let mut members = Vec::new();
    for number in 0..NODES * MEMBERS {
        let mut member = RoomMember::of_many_nodes(&servers[number % NODES], number % NODES, &sends).await;
        let is_mover = number / NODES < MOVERS;
        let (moving, here, done) = (Arc::clone(&stop_moving), Arc::clone(&here), Arc::clone(&done));
        members.push(tokio::spawn(async move {
            member.join().await;
            here.add_permits(1);
            while is_mover && !moving.load(Ordering::SeqCst) {
                member.leave().await;
                member.join().await;
            }
            // Reads until all senders have stopped, and then up to the last send.
            while done.available_permits() == 0 {
                member.catch_up().await;
                tokio::task::yield_now().await;
                let (began, ended) = (member.sends().begun(), member.sends().done());
                if began == ended {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            member.catch_up().await;
            member.received()
        }));
    }
    within("all members", here.acquire_many(u32::try_from(NODES * MEMBERS).unwrap())).await.unwrap().forget();
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let hub = servers[sender % NODES].hub().clone();
            tokio::spawn(Arc::clone(&sends).send(sender, hub, EVERY, Arc::clone(&stop_sending)))
        })
        .collect();
    tokio::time::sleep(stress_time()).await;
    stop_moving.store(true, Ordering::SeqCst);
    stop_sending.store(true, Ordering::SeqCst);
    for sender in senders {
        sender.await.expect("a sender whose sends are taken");
    }
    done.add_permits(1);
    let got: u32 = within("what was sent", join_all(members))
        .await
        .into_iter()
        .map(|member| member.expect("a member that gets what it has to"))
        .sum();
    let sent: u32 = sends.done().iter().sum();
    eprintln!("{sent} sends, {got} received");
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test]
async fn a_room_on_one_node_sends_nothing_over_the_bus() {
    let redis = RedisServer::start().await;
    let servers = nodes(&redis, 2).await;
    let mut ada = Town::enter_lobby(servers[0].address(), "ada").await;
    let mut bob = Town::enter_lobby(servers[0].address(), "bob").await;
    let mut bus = RoomsOnTheBus::of(&redis).await;
    for number in 0..1000 {
        ada.send(format!(r#"{{"method":"say","message":["lobby","{number}"]}}"#)).await;
        assert_eq!(bob.next().await, Said::text(number));
    }
    assert_eq!(bus.messages(servers[0].hub()).await, 0, "1,000 sends in a room on one node used the bus");

    // While another node has a member, every send goes over the bus; after that member has left, none does.
    let mut eve = Town::enter_lobby(servers[1].address(), "eve").await;
    bus.messages(servers[0].hub()).await;
    for number in 0..10 {
        ada.send(format!(r#"{{"method":"say","message":["lobby","{number}"]}}"#)).await;
        for other in [&mut bob, &mut eve] {
            assert_eq!(other.next().await, Said::text(number));
        }
    }
    assert_eq!(bus.messages(servers[0].hub()).await, 10);
    assert_eq!(eve.ask(r#"{"method":"leave","message":"lobby","id":1}"#).await, "1: true");
    until("a room of one node", async || {
        ada.send(r#"{"method":"say","message":["lobby","alone?"]}"#).await;
        assert_eq!(bob.next().await, Said::text("alone?"));
        (bus.messages(servers[0].hub()).await == 0).then_some(())
    })
    .await;
    drop((ada, bob, eve));
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test]
async fn a_room_forgets_a_node_that_was_killed() {
    let redis = RedisServer::start().await;
    let server = redis.serve(Town::node(&redis.url(), Duration::from_millis(900))).await;
    let mut killed = redis.spawn_node(env!("CARGO_BIN_EXE_node"), LEASE).await;
    let mut ada = Town::enter_lobby(server.address(), "ada").await;
    let _eve = Town::enter_lobby(killed.address(), "eve").await;
    let mut bus = RoomsOnTheBus::of(&redis).await;
    let mut send = async || {
        ada.answers_before(r#"{"method":"say","message":["lobby","anyone?"]}"#, Town::FENCE).await;
        bus.messages(server.hub()).await
    };
    until("a send over the bus", async || (send().await > 0).then_some(())).await;
    killed.kill();
    until("a room of one node", async || (send().await == 0).then_some(())).await;
    drop(ada);
    server.stop().await;
}

#[tokio::test]
async fn players_who_change_rooms_leave_no_channel_behind() {
    let redis = RedisServer::start().await;
    let server = redis.serve(Town::node(&redis.url(), Duration::from_millis(900))).await;
    let mut ada = Town::connect(server.address(), "ada").await;
    for number in 0..200 {
        let room = |route| format!(r#"{{"method":"{route}","message":"room{number}","id":1}}"#);
        assert_eq!(ada.ask(room("join")).await, "1: null");
        assert_eq!(ada.ask(room("leave")).await, "1: true");
    }
    let mut view = redis.connection().await;
    until("no channel of a room", async || {
        let mut channels = redis::cmd("PUBSUB");
        channels.arg("CHANNELS").arg("kengine:bus:room:*");
        let channels: Vec<String> = channels.query_async(&mut view).await.unwrap();
        channels.is_empty().then_some(())
    })
    .await;
    drop(ada);
    server.stop().await;
}

#[tokio::test]
async fn a_list_of_members_skips_nodes_that_do_not_answer() {
    let redis = RedisServer::start().await;
    let servers = nodes(&redis, 2).await;
    let stopped = kengine_tests::NodeProcess::start(
        env!("CARGO_BIN_EXE_node"),
        kengine_tests::free_address(),
        &redis.url(),
        LEASE,
    )
    .await;
    redis.directory().await.count_is(stopped.address(), Some(0)).await;
    let mut players = Vec::new();
    let addresses = [servers[0].address(), servers[1].address(), stopped.address()];
    for (address, uid) in addresses.into_iter().zip(["ada", "bob", "eve"]) {
        let player = Town::enter_lobby(address, uid).await;
        players.push(player);
    }
    let members = async || {
        let members = servers[0].hub().room("lobby").members().await;
        let uids: Vec<_> = members.iter().map(|member| member.uid.to_string()).collect();
        (uids, members.is_partial())
    };
    // On a machine under load, an answer may come too late, and its members are then missing.
    let members_are = async |uids: &[&str], is_partial: bool| {
        let expected = (uids.iter().copied().map(String::from).collect::<Vec<_>>(), is_partial);
        until("these members", async || (members().await == expected).then_some(())).await;
    };
    members_are(&["ada", "bob", "eve"], false).await;
    stopped.freeze();
    members_are(&["ada", "bob"], true).await;
    redis.freeze();
    let asked = std::time::Instant::now();
    assert_eq!(members().await, (["ada"].map(String::from).to_vec(), true));
    eprintln!("members without an answer of Redis: {:?}", asked.elapsed());
    redis.thaw();
    stopped.thaw();
    drop(players);
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test]
async fn messages_that_were_sent_make_room_for_others() {
    let redis = RedisServer::start().await;
    let hub = Hub::connect(redis.url()).await.expect("a Redis that answers");
    let said = Said("x".repeat(200 * 1024));
    // No message is sent before this task waits.
    let at_once = (0..1000).take_while(|_| hub.all().send(&said).is_ok()).count();
    assert_eq!(at_once, 64 * 1024 / 200, "messages of 200 KiB in a queue of 64 MiB");
    // A quarter of the queue: without room, not even one would be taken.
    for _ in 0..at_once / 4 {
        until("room in the queue", async || hub.all().send(&said).ok()).await;
    }
}

#[tokio::test]
async fn a_program_outside_the_cluster_can_send_and_kick() {
    let mut redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let server = redis.serve(Town::node(&redis.url(), LEASE)).await;
    let mut ada = Town::enter_lobby(server.address(), "ada").await;

    let hub = Hub::connect(redis.url()).await.expect("a Redis that answers");
    hub.room("lobby").send(&Said("to the room".into())).unwrap();
    hub.user("ada").send(&Said("to the user".into())).unwrap();
    hub.all().send(&Said("to everybody".into())).unwrap();
    for text in ["to the room", "to the user", "to everybody"] {
        assert_eq!(ada.next().await, Said::text(text));
    }
    assert_eq!(hub.room("lobby").members().await.len(), 1);
    hub.user("ada").kick(CloseCode::KICKED);
    assert_eq!(ada.next().await, "close 4501");
    drop(ada);
    // The program has not joined the cluster.
    assert_eq!(directory.listed().await, [server.address().to_string()]);
    server.stop().await;

    // A send that cannot be published is an error for the sender and is counted.
    assert_eq!(hub.unpublished(), 0);
    redis.kill();
    let send = async || hub.all().send(&Said("to nobody".into())).err();
    let error = until("an outage", send).await;
    assert!(matches!(error, SendError::Unavailable), "{error}");
    assert_eq!(hub.unpublished(), 1);
    assert!(matches!(Hub::connect("redis://127.0.0.1:1/").await.unwrap_err(), StartError::RedisUnreachable));
}

#[tokio::test]
async fn a_program_outside_the_cluster_reaches_every_connection_of_a_user() {
    let redis = RedisServer::start().await;
    let (mut servers, mut connections) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let server = redis.serve(Town::node(&redis.url(), LEASE).duplicates(Duplicates::Allow)).await;
        connections.push(Town::connect(server.address(), "ada").await);
        servers.push(server);
    }
    let hub = Hub::connect(redis.url()).await.expect("a Redis that answers");
    hub.user("ada").send(&Said("to both".into())).unwrap();
    for connection in &mut connections {
        assert_eq!(connection.next().await, Said::text("to both"));
    }
    drop(connections);
    for server in servers {
        server.stop().await;
    }
}
