//! A node drains, and hands the sessions of its players over to the nodes to which they come back.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kengine::{Duplicates, Hub, Server, cluster::Redis, push::SendError};
use kengine_tests::{Harbor, Line, Place, RedisServer, ReturningClient, TestServer, until};
use serde_json::Value;
use tokio::{task::JoinHandle, time::sleep};

/// A node of a cluster that hands sessions over, and what is noted there.
pub(super) struct Node {
    pub(super) harbor: Harbor,
    pub(super) server: TestServer,
}

impl Node {
    pub(super) async fn start(redis: &RedisServer) -> Self {
        Self::start_with(redis, |server| server.cluster(Redis::new(redis.url()))).await
    }

    pub(super) async fn start_with(
        redis: &RedisServer,
        configure: impl FnOnce(Server<Harbor>) -> Server<Harbor>,
    ) -> Self {
        let harbor = Harbor::default();
        // However slow the machine is, no player is too slow.
        let server = harbor.server().max_outbox_pushes(1_000_000).max_outbox_size(64 * 1024 * 1024);
        Self { server: redis.serve(configure(server.hand_over())).await, harbor }
    }

    fn say(&self, room: &str, number: u64) {
        self.server.hub().room(room).send(&Line(number)).expect("a bus that works");
    }

    /// Begins to drain, and waits until the client is told.
    pub(super) async fn drain(&mut self, client: &mut ReturningClient) {
        self.server.shut_down();
        client.expect("close 4000").await;
        client.cut();
    }
}

fn line(number: u64) -> String {
    format!(r#"{{"method":"line","message":{number}}}"#)
}

pub(super) async fn come_back_to(node: &Node, client: &mut ReturningClient) -> bool {
    client.come_back_to(node.server.address());
    client.come_back().await
}

#[tokio::test]
async fn a_session_moves_with_everything_that_belongs_to_it() {
    let redis = RedisServer::start().await;
    let (mut old, new) = (Node::start(&redis).await, Node::start(&redis).await);
    let mut bob = ReturningClient::connect(new.server.address(), "bob").await;
    assert_eq!(bob.ask("join", "lobby", 1).await, "1: null");
    let mut ada = ReturningClient::connect(old.server.address(), "ada").await;
    assert_eq!(ada.ask("join", "lobby", 1).await, "1: null");
    assert!(bob.next().await.unwrap().contains("joined"));
    assert_eq!(ada.ask("count", 7, 2).await, "2: 7");
    old.drain(&mut ada).await;
    assert_eq!(old.harbor.noted(2).await, ["open ada", "suspend ada"]);
    // What is sent by either node while she is away.
    for number in 0..4 {
        let node = if number % 2 == 0 { &old } else { &new };
        node.say("lobby", number);
        bob.expect(&line(number)).await;
    }
    assert!(come_back_to(&new, &mut ada).await);
    let mut lines = Vec::new();
    for _ in 0..4 {
        lines.push(ada.next().await.unwrap());
    }
    lines.sort_unstable();
    assert_eq!(lines, [line(0), line(1), line(2), line(3)]);
    assert_eq!(new.harbor.noted(2).await, ["open bob", "resume ada"]);
    // She is in the room, and has her uid.
    new.say("lobby", 4);
    new.server.hub().user("ada").send(&Line(5)).unwrap();
    for number in [4, 5] {
        ada.expect(&line(number)).await;
    }
    bob.expect(&line(4)).await;
    assert_eq!(ada.ask("count", 8, 3).await, "3: 8");
    old.server.ended().await;
    assert_eq!(old.harbor.notes(), [""; 0], "neither `#[close]` nor anything else runs where she was");
    let mut directory = redis.directory().await;
    directory.user_is("ada", Some(new.server.address().to_string())).await;
    until("no stored session", async || {
        directory.keys().await.iter().all(|key| !key.contains("session")).then_some(())
    })
    .await;
    ada.leave().await;
    bob.leave().await;
    new.server.stop().await;
    assert_eq!(redis.directory().await.keys().await, [""; 0]);
}

#[tokio::test]
async fn the_seat_the_expiry_and_the_newest_of_latest_pushes_move_too() {
    let redis = RedisServer::start().await;
    let (mut old, new) = (Node::start(&redis).await, Node::start(&redis).await);
    let hour = Duration::from_secs(3600);
    let millis = |at: SystemTime| at.duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let path = format!("/ws?uid=ada&expires={}", millis(SystemTime::now() + hour));
    let mut ada = ReturningClient::connect_to(old.server.address(), &path).await;
    let mut bob = ReturningClient::connect(new.server.address(), "bob").await;
    assert_eq!(ada.ask("sit", "table", 1).await, "1: null");
    let until = SystemTime::now() + 2 * hour;
    old.harbor.sailor().extend(until).expect("a time in the future");
    old.drain(&mut ada).await;
    let sailor = old.harbor.sailor();
    for (ship, at) in [(1, 1), (2, 2), (1, 3)] {
        sailor.send(&Place { ship, at }).expect("she may come back");
    }
    assert!(bob.ask("sit", "table", 1).await.contains("full"));
    assert!(come_back_to(&new, &mut ada).await);
    for (ship, at) in [(1, 3), (2, 2)] {
        ada.expect(&format!(r#"{{"method":"place","message":{{"ship":{ship},"at":{at}}}}}"#)).await;
    }
    old.server.ended().await;
    assert!(sailor.send(&Line(1)).is_err(), "a handle to the connection on the node that she has left");
    assert_eq!(ada.ask("expires", Value::Null, 2).await, format!("2: {}", millis(until)));
    assert!(bob.ask("sit", "table", 2).await.contains("full"));
    ada.leave().await;
    let mut id = 2;
    until_free(&mut bob, &mut id).await;
    bob.leave().await;
    new.server.stop().await;
    // It is known for a while where the players of a room with seats go.
    assert_eq!(redis.directory().await.keys().await, ["kengine:room:table"]);
}

/// Sits down as soon as the seat is free.
async fn until_free(client: &mut ReturningClient, id: &mut u64) {
    loop {
        *id += 1;
        if client.ask("sit", "table", *id).await == format!("{id}: null") {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_session_in_several_rooms_moves_with_each_policy_for_duplicates() {
    for duplicates in [Duplicates::Replace, Duplicates::Refuse, Duplicates::Allow] {
        let redis = RedisServer::start().await;
        let configure = |server: Server<Harbor>| server.duplicates(duplicates).cluster(Redis::new(redis.url()));
        let (mut old, new) = (Node::start_with(&redis, configure).await, Node::start_with(&redis, configure).await);
        let mut ada = ReturningClient::connect(old.server.address(), "ada").await;
        for (id, room) in (0..).zip(["hall", "lobby", "yard"]) {
            assert_eq!(ada.ask("join", room, id).await, format!("{id}: null"));
        }
        old.drain(&mut ada).await;
        old.server.hub().user("ada").send(&Line(0)).unwrap();
        new.server.hub().user("ada").send(&Line(1)).unwrap();
        assert!(come_back_to(&new, &mut ada).await, "{duplicates:?}");
        for number in 0..2 {
            ada.expect(&line(number)).await;
        }
        old.server.ended().await;
        for (number, room) in (2..).zip(["hall", "lobby", "yard"]) {
            new.say(room, number);
            ada.expect(&line(number)).await;
        }
        new.server.hub().user("ada").send(&Line(9)).unwrap();
        ada.expect(&line(9)).await;
        ada.leave().await;
        new.server.stop().await;
        assert_eq!(redis.directory().await.keys().await, [""; 0]);
    }
}

#[tokio::test]
async fn a_guest_keeps_the_uid_and_a_session_moves_again_and_again() {
    let redis = RedisServer::start().await;
    let mut node = Node::start(&redis).await;
    let mut guest = ReturningClient::connect_to(node.server.address(), "/ws").await;
    let uid = guest.ask("uid", Value::Null, 0).await;
    assert_eq!(guest.ask("join", "lobby", 0).await, "0: null");
    for id in 1..4 {
        let next = Node::start(&redis).await;
        node.drain(&mut guest).await;
        assert!(come_back_to(&next, &mut guest).await);
        node.server.ended().await;
        assert_eq!(guest.ask("uid", Value::Null, 0).await, uid);
        next.say("lobby", id);
        guest.expect(&line(id)).await;
        node = next;
    }
    guest.leave().await;
    node.server.stop().await;
}

/// Sends numbered lines to the room `lobby`, to the user `ada` and to everybody, until it is stopped or its node has
/// left the cluster.
struct Sender {
    is_over: Arc<AtomicBool>,
    sending: JoinHandle<HashMap<u64, u64>>,
}

/// How many lines of one stream there are at most.
const STREAM: u64 = 1_000_000;

impl Sender {
    /// Starts to send by this hub. `number` is different for each sender.
    fn start(hub: Hub, number: u64) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let sending = tokio::spawn(async move {
            let mut sent = HashMap::new();
            loop {
                for stream in 0..3 {
                    let id = number * 3 + stream;
                    let count: &mut u64 = sent.entry(id).or_default();
                    let line = Line(id * STREAM + *count);
                    let done = match stream {
                        0 => hub.room("lobby").send(&line),
                        1 => hub.user("ada").send(&line),
                        _ => hub.all().send(&line),
                    };
                    match done {
                        Ok(_) => *count += 1,
                        Err(SendError::Unavailable) => return sent,
                        Err(error) => panic!("{error}"),
                    }
                }
                if over.load(Ordering::Relaxed) {
                    return sent;
                }
                sleep(Duration::from_millis(2)).await;
            }
        });
        Self { is_over, sending }
    }

    /// Stops. Returns how many lines each stream has.
    async fn stop(self) -> HashMap<u64, u64> {
        self.is_over.store(true, Ordering::Relaxed);
        self.sending.await.expect("a sender that does not panic")
    }
}

/// What a client has got of each stream.
#[derive(Default)]
struct Got(HashMap<u64, u64>);

impl Got {
    /// Takes a message if it is the next line of its stream. Returns `false` if it is no line.
    fn take(&mut self, text: &str) -> bool {
        let Some(number) = text.strip_prefix(r#"{"method":"line","message":"#) else { return false };
        let number: u64 = number.trim_end_matches('}').parse().expect("a number");
        let next = self.0.entry(number / STREAM).or_default();
        assert_eq!(number % STREAM, *next, "of stream {}", number / STREAM);
        *next += 1;
        true
    }
}

/// Reads lines until a message comes that is none.
async fn read_until(client: &mut ReturningClient, got: &mut Got, wanted: &str) {
    loop {
        let text = client.next().await.expect("a message");
        if !got.take(&text) {
            assert_eq!(text, wanted);
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_of_any_node_is_lost_doubled_or_out_of_order() {
    let redis = RedisServer::start().await;
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Node::start(&redis).await);
    }
    let mut ada = ReturningClient::connect(nodes[0].server.address(), "ada").await;
    assert_eq!(ada.ask("join", "lobby", 0).await, "0: null");
    redis.directory().await.user_is("ada", Some(nodes[0].server.address().to_string())).await;
    let mut senders: Vec<_> =
        (0..).zip(&nodes).map(|(number, node)| Sender::start(node.server.hub().clone(), number)).collect();
    let mut got = Got::default();
    let mut sent = HashMap::new();
    for round in 0..ROUNDS {
        for _ in 0..50 {
            assert!(got.take(&ada.next().await.unwrap()));
        }
        ada.request("count", round, round).await;
        let mut old = nodes.remove(0);
        old.server.shut_down();
        let mut answers = 0;
        loop {
            let text = ada.next().await.expect("a message");
            match &*text {
                "close 4000" => break,
                text if text == format!("{round}: {round}") => answers += 1,
                text => assert!(got.take(text), "{text}"),
            }
        }
        ada.cut();
        if round % 3 == 0 {
            sleep(Duration::from_millis(20)).await;
        }
        let new = usize::from(round % 2 == 0);
        let resumed = come_back_to(&nodes[new], &mut ada).await;
        assert!(resumed, "round {round}: {:?}, {:?}", old.harbor.notes(), nodes[new].harbor.notes());
        if answers == 0 {
            read_until(&mut ada, &mut got, &format!("{round}: {round}")).await;
        }
        sent.extend(senders.remove(0).stop().await);
        old.server.ended().await;
        if new == 1 {
            nodes.swap(0, 1);
            senders.swap(0, 1);
        }
        let next = Node::start(&redis).await;
        senders.push(Sender::start(next.server.hub().clone(), round + 3));
        nodes.push(next);
    }
    for sender in senders {
        sent.extend(sender.stop().await);
    }
    // The last line of each stream comes before what is sent now.
    sleep(Duration::from_millis(200)).await;
    ada.request("count", 99, 99).await;
    read_until(&mut ada, &mut got, "99: 99").await;
    sent.retain(|_, count| *count > 0);
    assert_eq!(got.0, sent);
    ada.leave().await;
    for node in nodes {
        node.server.stop().await;
    }
}

/// How often a session is moved while everybody sends.
const ROUNDS: u64 = 10;
