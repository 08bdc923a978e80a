//! A session that is handed over ends meanwhile, or cannot move: each case has its exact outcome.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kengine::{Close, CloseCode, cluster::Redis};
use kengine_tests::{
    Line, Network, NodeProcess, Proxy, RESUME, RawClient, RedisServer, ReturningClient, Upgrade, free_address, until,
};
use redis::aio::PubSub;
use tokio::time::sleep;

use crate::handing_over::{Node, come_back_to};

/// The channel of the room.
pub(super) const LOBBY: &str = "kengine:bus:room:lobby";

/// A cluster of three nodes, with a player on the first, and on the last bob, who is told who leaves.
pub(super) struct Cluster {
    pub(super) redis: RedisServer,
    pub(super) old: Node,
    pub(super) new: Node,
    pub(super) other: Node,
    pub(super) ada: ReturningClient,
    bob: ReturningClient,
}

impl Cluster {
    pub(super) async fn start(query: &str) -> Self {
        let redis = RedisServer::start().await;
        let url = redis.url();
        Self::start_behind(redis, &url, query).await
    }

    /// The first node reaches Redis at this URL.
    async fn start_behind(redis: RedisServer, url: &str, query: &str) -> Self {
        let old =
            Node::start_with(&redis, |server| server.cluster(Redis::new(url)).drain_timeout(Duration::from_secs(8)))
                .await;
        let (new, other) = (Node::start(&redis).await, Node::start(&redis).await);
        let mut bob = ReturningClient::connect(other.server.address(), "bob").await;
        assert_eq!(bob.ask("join", "lobby", 1).await, "1: null");
        let mut ada = ReturningClient::connect_to(old.server.address(), &format!("/ws?uid=ada{query}")).await;
        assert_eq!(ada.ask("join", "lobby", 1).await, "1: null");
        assert!(bob.next().await.unwrap().contains("joined"));
        redis.directory().await.user_is("ada", Some(old.server.address().to_string())).await;
        assert_eq!(old.harbor.notes(), ["open ada"]);
        assert_eq!(other.harbor.notes(), ["open bob"]);
        Self { redis, old, new, other, ada, bob }
    }

    /// Begins to drain the first node. The session waits there when this returns.
    pub(super) async fn drain(&mut self) {
        self.old.drain(&mut self.ada).await;
        assert_eq!(self.old.harbor.noted(1).await, ["suspend ada"]);
    }

    /// Waits until bob is told that ada has left, and nothing else.
    pub(super) async fn ada_has_left(&mut self) {
        let told = self.bob.next().await.unwrap();
        assert!(told.contains("left") && told.contains("ada"), "{told}");
    }

    fn kick(&self) {
        self.other.server.hub().user("ada").kick(Close::new(CloseCode::KICKED, "out"));
    }

    /// Stops everything after the first node has ended by itself.
    pub(super) async fn stop(mut self) {
        self.old.server.ended().await;
        self.bob.leave().await;
        self.new.server.stop().await;
        self.other.server.stop().await;
    }
}

fn soon(millis: u64) -> String {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970") + Duration::from_millis(millis);
    format!("&expires={}", at.as_millis())
}

const KICKED: &str = "close (closed by the server: 4501 \"out\") ada";
pub(super) const REPLACED: &str = "close (replaced by a newer connection) ada";
const EXPIRED: &str = "close (session expired) ada";

#[tokio::test]
async fn a_kick_ends_a_session_that_waits() {
    let mut cluster = Cluster::start("").await;
    cluster.drain().await;
    cluster.kick();
    assert_eq!(cluster.old.harbor.noted(1).await, [KICKED]);
    cluster.ada_has_left().await;
    assert!(!come_back_to(&cluster.new, &mut cluster.ada).await);
    cluster.ada.leave().await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_newer_connection_ends_a_session_that_waits() {
    let mut cluster = Cluster::start("").await;
    cluster.drain().await;
    let mut newer = ReturningClient::connect(cluster.other.server.address(), "ada").await;
    assert_eq!(cluster.old.harbor.noted(1).await, [REPLACED]);
    cluster.ada_has_left().await;
    assert_eq!(newer.ask("count", 1, 1).await, "1: 1");
    newer.leave().await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_session_that_waits_expires() {
    let mut cluster = Cluster::start(&soon(1500)).await;
    cluster.drain().await;
    assert_eq!(cluster.old.harbor.noted(1).await, [EXPIRED]);
    cluster.ada_has_left().await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_session_that_has_moved_expires() {
    let mut cluster = Cluster::start(&soon(2500)).await;
    cluster.drain().await;
    assert!(come_back_to(&cluster.new, &mut cluster.ada).await);
    cluster.ada.expect("close 4003").await;
    assert_eq!(cluster.new.harbor.noted(2).await, ["resume ada", EXPIRED]);
    cluster.ada_has_left().await;
    cluster.stop().await;
}

/// The player is back on another node, while a handler runs on the node that drains.
#[tokio::test]
async fn a_kick_ends_a_session_whose_handler_is_waited_for() {
    let mut cluster = Cluster::start("").await;
    cluster.ada.request("wait", serde_json::Value::Null, 2).await;
    cluster.old.harbor.gate.arrived(1).await;
    cluster.old.server.shut_down();
    cluster.ada.cut();
    cluster.ada.come_back_to(cluster.new.server.address());
    let kicking = async {
        sleep(Duration::from_millis(200)).await;
        cluster.other.server.hub().user("ada").kick(Close::new(CloseCode::KICKED, "out"));
        cluster.old.harbor.gate.open(1);
    };
    let (resumed, ()) = tokio::join!(cluster.ada.come_back(), kicking);
    assert!(!resumed);
    assert_eq!(cluster.old.harbor.noted(1).await.last().map(String::as_str), Some(KICKED));
    cluster.ada.leave().await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_handler_ends_before_the_session_moves_and_its_answer_moves_too() {
    let mut cluster = Cluster::start("").await;
    cluster.ada.request("wait", serde_json::Value::Null, 2).await;
    cluster.old.harbor.gate.arrived(1).await;
    cluster.old.server.shut_down();
    cluster.ada.cut();
    cluster.ada.come_back_to(cluster.new.server.address());
    let opening = async {
        sleep(Duration::from_millis(300)).await;
        cluster.old.harbor.gate.open(1);
    };
    let (resumed, ()) = tokio::join!(cluster.ada.come_back(), opening);
    assert!(resumed);
    assert_eq!(cluster.ada.answer(2).await, r#"2: "done""#);
    assert_eq!(cluster.old.harbor.notes(), ["suspend ada"]);
    cluster.ada.leave().await;
    cluster.ada_has_left().await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_handler_that_does_not_end_keeps_the_session_from_moving() {
    let mut cluster = Cluster::start("").await;
    cluster.ada.request("wait", serde_json::Value::Null, 2).await;
    cluster.old.harbor.gate.arrived(1).await;
    cluster.old.server.shut_down();
    cluster.ada.cut();
    let begun = Instant::now();
    assert!(!come_back_to(&cluster.new, &mut cluster.ada).await);
    assert!(begun.elapsed() >= Duration::from_secs(5));
    assert_eq!(cluster.ada.ask("count", 1, 1).await, "1: 1");
    cluster.old.harbor.gate.open(1);
    // The session that has begun instead ends it.
    let mut notes = Vec::new();
    until("the end of the session", async || {
        notes.extend(cluster.old.harbor.notes());
        notes.iter().any(|note| note == REPLACED).then_some(())
    })
    .await;
    cluster.ada.leave().await;
    cluster.stop().await;
}

/// A node that is about to hand a session over, but does not hear any more that the new one is ready.
pub(super) struct Stalled {
    pub(super) cluster: Cluster,
    pub(super) network: Proxy,
    pub(super) silent: PubSub,
}

impl Stalled {
    pub(super) async fn start(query: &str) -> Self {
        let mut stalled = Self::start_without_drain(query).await;
        stalled.cluster.drain().await;
        stalled
    }

    /// The session waits on a node that does not drain.
    pub(super) async fn start_cut() -> Self {
        let mut stalled = Self::start_without_drain("").await;
        stalled.cluster.ada.cut();
        assert_eq!(stalled.cluster.old.harbor.noted(1).await, ["suspend ada"]);
        stalled
    }

    async fn start_without_drain(query: &str) -> Self {
        let redis = RedisServer::start().await;
        let network = Proxy::start(redis.port()).await;
        let cluster = Cluster::start_behind(redis, &network.url(), query).await;
        let client = redis::Client::open(cluster.redis.url()).unwrap();
        let mut silent = client.get_async_pubsub().await.unwrap();
        // It does not answer, so the new node waits for it after the session was offered, before it is ready.
        silent.subscribe(LOBBY).await.unwrap();
        Self { cluster, network, silent }
    }

    /// Waits until the new node has been offered the session, and stalls the old one.
    pub(super) async fn stall(redis: &RedisServer, network: &Proxy) {
        subscribers_are(redis, 4).await;
        network.set(Network::Stalled);
    }

    /// Returns what the hooks of the two nodes have noted of ada's end.
    fn ends(&self) -> Vec<String> {
        let notes = self.cluster.old.harbor.notes().into_iter().chain(self.cluster.new.harbor.notes());
        notes.filter(|note| note.starts_with("close")).collect()
    }
}

/// Waits until the channel of the room has this many subscribers.
pub(super) async fn subscribers_are(redis: &RedisServer, count: usize) {
    let mut commands = redis.connection().await;
    until("subscribers", async || {
        let counts: Vec<(String, usize)> =
            redis::cmd("PUBSUB").arg("NUMSUB").arg(LOBBY).query_async(&mut commands).await.unwrap();
        (counts[0].1 == count).then_some(())
    })
    .await;
}

pub(super) async fn raw(node: &Node, ada: &ReturningClient) -> RawClient {
    let upgrade = Upgrade::new(node.server.address()).path(ada.way_back());
    upgrade.with("Sec-WebSocket-Protocol", RESUME).open(node.server.address()).await
}

#[tokio::test]
async fn a_kick_a_newer_connection_and_the_expiry_reach_a_session_that_is_on_its_way() {
    for (what, code) in [("kick", "4501"), ("newer", "4500"), ("expiry", "4003")] {
        let begun = Instant::now();
        let query = if what == "expiry" { soon(4000) } else { String::new() };
        let mut stalled = Stalled::start(&query).await;
        let Stalled { cluster, network, .. } = &mut stalled;
        if what == "expiry" {
            // It expires 700 ms later, when the session is on its way.
            sleep(Duration::from_millis(3300).saturating_sub(begun.elapsed())).await;
        }
        let mut newer = None;
        let stalling = async {
            Stalled::stall(&cluster.redis, network).await;
            // By now the new node is ready.
            sleep(Duration::from_millis(400)).await;
            match what {
                "kick" => _ = cluster.other.server.hub().user("ada").kick(Close::new(CloseCode::KICKED, "out")),
                "newer" => newer = Some(ReturningClient::connect(cluster.other.server.address(), "ada").await),
                _ => {}
            }
            sleep(Duration::from_millis(500)).await;
            network.set(Network::Good);
        };
        let returning = async {
            let mut socket = raw(&cluster.new, &cluster.ada).await;
            let mut frames = Vec::new();
            loop {
                frames.push(socket.frame().await);
                if frames.last().is_some_and(|frame| frame.starts_with("close") || frame.contains("ended")) {
                    return frames;
                }
            }
        };
        let (frames, ()) = tokio::join!(returning, stalling);
        let last = frames.last().expect("a frame");
        assert!(last.contains(code), "{what}: {frames:?}");
        let mut ends = Vec::new();
        until("the end of the session", async || {
            ends.extend(stalled.ends());
            (!ends.is_empty()).then_some(())
        })
        .await;
        sleep(Duration::from_millis(300)).await;
        ends.extend(stalled.ends());
        assert_eq!(ends.len(), 1, "{what}: {ends:?}");
        if let Some(mut newer) = newer {
            assert_eq!(newer.ask("count", 1, 1).await, "1: 1");
            newer.leave().await;
        }
        let Stalled { cluster, network: _network, silent } = stalled;
        drop(silent);
        cluster.stop().await;
    }
}

#[tokio::test]
async fn a_node_that_does_not_give_the_session_away_in_time_keeps_and_ends_it() {
    let mut stalled = Stalled::start("").await;
    let Stalled { cluster, network, .. } = &mut stalled;
    let begun = Instant::now();
    cluster.ada.come_back_to(cluster.new.server.address());
    let (resumed, ()) = tokio::join!(cluster.ada.come_back(), Stalled::stall(&cluster.redis, network));
    assert!(!resumed);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(cluster.new.harbor.noted(1).await, ["open ada"]);
    network.set(Network::Good);
    let ends = cluster.old.harbor.noted(1).await;
    assert!(ends == [REPLACED] || ends == ["close (not resumed) ada"], "{ends:?}");
    assert_eq!(cluster.ada.ask("count", 1, 1).await, "1: 1");
    cluster.ada.leave().await;
    let Stalled { cluster, network: _network, silent } = stalled;
    drop(silent);
    cluster.stop().await;
}

#[tokio::test]
async fn a_new_node_that_does_not_take_the_session_in_time_leaves_it_to_the_old_one() {
    let redis = RedisServer::start().await;
    let networks = [Proxy::start(redis.port()).await, Proxy::start(redis.port()).await];
    let mut cluster = Cluster::start_behind(redis, &networks[0].url(), "").await;
    let new = Node::start_with(&cluster.redis, |server| server.cluster(Redis::new(networks[1].url()))).await;
    cluster.drain().await;
    networks[0].set(Network::Slow(Duration::from_millis(200)));
    cluster.ada.come_back_to(new.server.address());
    let stalling = async {
        // The new node is ready, and the old one will hear so.
        let there = Some(new.server.address().to_string());
        cluster.redis.directory().await.user_is("ada", there).await;
        networks[1].set(Network::Stalled);
    };
    let (resumed, ()) = tokio::join!(cluster.ada.come_back(), stalling);
    assert!(!resumed);
    cluster.ada_has_left().await;
    assert_eq!(cluster.old.harbor.noted(1).await, ["close (not resumed) ada"]);
    assert_eq!(cluster.ada.ask("count", 1, 1).await, "1: 1");
    assert_eq!(new.harbor.notes(), ["open ada"]);
    for network in &networks {
        network.set(Network::Good);
    }
    cluster.ada.leave().await;
    new.server.stop().await;
    cluster.stop().await;
}

const NODE: &str = env!("CARGO_BIN_EXE_harbor_node");

async fn spawn_node(redis: &RedisServer) -> NodeProcess {
    let address = free_address();
    let mut command = Command::new(NODE);
    command.arg(address.to_string()).arg(redis.url());
    let node = NodeProcess::spawn(command, address).await;
    redis.directory().await.count_is(address, Some(0)).await;
    node
}

#[tokio::test]
async fn the_old_node_is_killed_before_and_while_it_hands_a_session_over() {
    for is_asked in [false, true] {
        let redis = RedisServer::start().await;
        let mut old = spawn_node(&redis).await;
        let new = Node::start(&redis).await;
        let mut ada = ReturningClient::connect(old.address(), "ada").await;
        assert_eq!(ada.ask("join", "lobby", 1).await, "1: null");
        old.terminate();
        ada.expect("close 4000").await;
        ada.cut();
        ada.come_back_to(new.server.address());
        let client = redis::Client::open(redis.url()).unwrap();
        let mut silent = client.get_async_pubsub().await.unwrap();
        silent.subscribe(LOBBY).await.unwrap();
        let begun = Instant::now();
        let killing = async {
            if is_asked {
                subscribers_are(&redis, 3).await;
            }
            old.kill();
        };
        let resumed = if is_asked {
            let (resumed, ()) = tokio::join!(ada.come_back(), killing);
            resumed
        } else {
            killing.await;
            ada.come_back().await
        };
        assert!(!resumed);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert_eq!(ada.ask("count", 1, 1).await, "1: 1");
        assert_eq!(new.harbor.notes(), ["open ada"]);
        ada.leave().await;
        new.server.stop().await;
    }
}

#[tokio::test]
async fn another_node_gets_the_session_if_the_new_one_is_killed() {
    let mut cluster = Cluster::start("").await;
    let mut killed = spawn_node(&cluster.redis).await;
    cluster.drain().await;
    let client = redis::Client::open(cluster.redis.url()).unwrap();
    let mut silent = client.get_async_pubsub().await.unwrap();
    silent.subscribe(LOBBY).await.unwrap();
    cluster.ada.come_back_to(killed.address());
    let killing = async {
        subscribers_are(&cluster.redis, 4).await;
        killed.kill();
    };
    let (resumed, ()) = tokio::join!(cluster.ada.try_come_back(), killing);
    assert_eq!(resumed, None);
    drop(silent);
    cluster.old.server.hub().room("lobby").send(&Line(7)).expect("a bus that works");
    assert!(come_back_to(&cluster.new, &mut cluster.ada).await);
    cluster.ada.expect(r#"{"method":"line","message":7}"#).await;
    assert_eq!(cluster.new.harbor.noted(1).await, ["resume ada"]);
    cluster.ada.leave().await;
    assert!(cluster.bob.next().await.unwrap().contains("line"));
    cluster.ada_has_left().await;
    cluster.stop().await;
}

#[tokio::test]
async fn redis_goes_away_while_a_session_is_on_its_way() {
    let mut stalled = Stalled::start("").await;
    let Stalled { cluster, network, .. } = &mut stalled;
    let begun = Instant::now();
    cluster.ada.come_back_to(cluster.new.server.address());
    let going = async {
        Stalled::stall(&cluster.redis, network).await;
        cluster.redis.freeze();
    };
    let (resumed, ()) = tokio::join!(cluster.ada.come_back(), going);
    assert!(!resumed);
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    cluster.ada.request("count", 1, 1).await;
    assert_eq!(cluster.ada.answer(1).await, "1: 1");
    // The drain ends although Redis is away, and the session with it.
    let ends = cluster.old.harbor.noted(1).await;
    assert_eq!(ends, ["close (draining) ada"]);
    cluster.redis.thaw();
    network.set(Network::Good);
    assert_eq!(cluster.new.harbor.notes(), ["open ada"]);
}

#[tokio::test]
async fn redis_is_away_when_the_player_comes_back() {
    let mut cluster = Cluster::start("").await;
    cluster.drain().await;
    cluster.redis.kill();
    until("an outage", async || cluster.new.server.hub().user("nobody").send(&Line(1)).is_err().then_some(())).await;
    let begun = Instant::now();
    assert!(!come_back_to(&cluster.new, &mut cluster.ada).await);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(cluster.old.harbor.noted(1).await, ["close (draining) ada"]);
}

#[tokio::test]
async fn a_token_moves_a_session_once() {
    let mut cluster = Cluster::start("").await;
    cluster.drain().await;
    let mut again = raw(&cluster.new, &cluster.ada).await;
    assert!(again.frame().await.contains(r#""resumed":true"#));
    assert_eq!(again.ask(r#"{"method":"count","message":1,"id":1}"#).await, "1: 1");
    cluster.ada.come_back_to(cluster.other.server.address());
    assert!(!cluster.ada.come_back().await);
    // As the player's newest connection, it has replaced the session.
    assert_eq!(again.frame().await, "close 4500");
    assert_eq!(cluster.new.harbor.noted(2).await, ["resume ada", REPLACED]);
    cluster.ada.leave().await;
    cluster.ada_has_left().await;
}
