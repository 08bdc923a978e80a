//! A node drains, and hands the sessions of its players over to the nodes to which they come back.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kengine::{Hub, Server, cluster::Redis, push::SendError};
use kengine_tests::{Harbor, Line, RedisServer, ReturningClient, TestServer, until};
use tokio::{task::JoinHandle, time::sleep};

/// A node of a cluster, and what is noted there.
struct Node {
    harbor: Harbor,
    server: TestServer,
}

impl Node {
    async fn start(redis: &RedisServer) -> Self {
        Self::start_with(redis, |server| server).await
    }

    async fn start_with(redis: &RedisServer, change: impl FnOnce(Server<Harbor>) -> Server<Harbor>) -> Self {
        let harbor = Harbor::default();
        // However slow the machine is, no player is too slow.
        let server = harbor.server().max_outbox_pushes(1_000_000).max_outbox_size(64 * 1024 * 1024);
        let server = change(server.hand_over().cluster(Redis::new(redis.url())));
        Self { server: redis.serve(server).await, harbor }
    }

    fn say(&self, room: &str, number: u64) {
        self.server.hub().room(room).send(&Line(number)).expect("a bus that works");
    }

    /// Begins to drain, and waits until the client is told.
    async fn drain(&mut self, client: &mut ReturningClient) {
        self.server.shut_down();
        client.expect("close 4000").await;
        client.cut();
    }
}

fn line(number: u64) -> String {
    format!(r#"{{"method":"line","message":{number}}}"#)
}

async fn come_back_to(node: &Node, client: &mut ReturningClient) -> bool {
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
    until("no stored session", async || directory.keys().await.iter().all(|key| !key.contains("session")).then_some(()))
        .await;
    ada.leave().await;
    bob.leave().await;
    new.server.stop().await;
    assert_eq!(redis.directory().await.keys().await, [""; 0]);
}

/// Sends numbered lines to the room `lobby`, to the user `ada` and to everybody, until it is stopped or its node has left
/// the cluster.
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
