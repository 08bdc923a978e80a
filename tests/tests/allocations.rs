//! How many allocations a node needs for a message and for a push. Its binary has an allocator that counts, so nothing
//! else is tested in it.
//!
//! The node has a thread of its own, and only that thread is counted. It stands still between two counts, so each count
//! has exactly the work of one load.

use std::{
    net::SocketAddr,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use kengine::{Connection, Handshake, Hub, Push, Refusal, Server, Session, Uid};
use kengine_tests::{ClientFrame, RawClient, Upgrade, segment};
use serde::{Deserialize, Serialize};
use tokio::{runtime, sync::oneshot};

const ROOM: &str = "arena";
/// Far above what a client of these tests sends in a second.
const NEVER_REACHED: u32 = 1_000_000_000;

struct Player(Option<Uid>);

impl Session for Player {
    fn uid(&self) -> Option<Uid> {
        self.0.clone()
    }
}

#[derive(Deserialize)]
struct Chat {
    greeting: String,
    context: String,
}

#[derive(Deserialize)]
struct Say {
    text: String,
}

#[derive(Serialize, Push)]
struct Said<'a> {
    text: &'a str,
}

struct Arena;

#[kengine::dispatcher]
impl Arena {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Player, Refusal> {
        Ok(Player(handshake.query("uid").map(Uid::new).transpose()?))
    }

    #[route(rate = "1000000/s", max_size = "64KiB")]
    async fn chat(&self, chat: Chat) -> String {
        assert!(!chat.context.is_empty());
        ["hey, you said: ", &chat.greeting].concat()
    }

    #[route]
    async fn join(&self, hub: &Hub, connection: &Connection<Player>) -> bool {
        hub.room(ROOM).join(connection).await.is_ok()
    }

    #[route]
    async fn say(&self, hub: &Hub, say: Say) {
        hub.room(ROOM).send(&Said { text: &say.text }).expect("a push that is taken");
    }
}

/// A node in a thread that runs only while its allocations are counted.
struct CountedNode {
    address: SocketAddr,
    /// Each begins a count, which ends when it is answered.
    counts: mpsc::Sender<oneshot::Receiver<()>>,
    counted: mpsc::Receiver<u64>,
    thread: JoinHandle<()>,
}

impl CountedNode {
    /// Starts a node with the default limits; those of a client's rates are raised.
    fn start() -> Self {
        let (counts, begun) = mpsc::channel::<oneshot::Receiver<()>>();
        let (counting, counted) = mpsc::channel();
        let (ready, address) = mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let server = Server::new(Arena).max_messages_per_second(NEVER_REACHED, NEVER_REACHED);
            let server = server.max_bytes_per_second(NEVER_REACHED, NEVER_REACHED);
            let bound = runtime.block_on(server.bind("127.0.0.1:0")).expect("a free port");
            ready.send(bound.local_addr()).expect("a test that waits");
            runtime.spawn(bound.serve_until(std::future::pending()));
            for end in begun {
                let counted = allocation_counter::measure(|| {
                    // The test has failed if it has dropped the sender.
                    let _ = runtime.block_on(end);
                });
                counting.send(counted.count_total).expect("a test that waits");
            }
        });
        Self { address: address.recv().expect("a node that listens"), counts, counted, thread }
    }

    /// Lets the node serve a load, and returns how many allocations it made meanwhile.
    async fn count(&self, load: impl AsyncFnOnce()) -> u64 {
        let (end, ended) = oneshot::channel();
        self.counts.send(ended).expect("a node that runs");
        load().await;
        end.send(()).expect("a node that runs");
        self.counted.recv().expect("a node that runs")
    }

    async fn connect(&self, uid: &str) -> RawClient {
        Upgrade::new(self.address).path(format!("/ws?uid={uid}")).open(self.address).await
    }

    fn stop(self) {
        drop(self.counts);
        self.thread.join().expect("a node that does not panic");
    }
}

/// Sends a chat message `messages` times, `in_flight` of them in each write, and reads every answer.
async fn chat(client: &mut RawClient, messages: u64, in_flight: u64) {
    let message = r#"{"method":"chat","message":{"greeting":"hello to all of you","context":"near an old gate"}}"#;
    let write = segment((0..in_flight).map(|_| ClientFrame::text(message)));
    for _ in 0..messages / in_flight {
        client.send(&write).await;
        for _ in 0..in_flight {
            assert_eq!(client.frame().await, r#""hey, you said: hello to all of you""#);
        }
    }
}

#[tokio::test]
async fn a_message_allocates_what_serde_makes_and_its_reply_and_a_wake_one_more() {
    /// The two strings of the message, and the reply.
    const OF_THE_USER: u64 = 3;
    const MESSAGES: u64 = 1008;
    let node = CountedNode::start();
    let mut client = None;
    node.count(async || {
        let mut warm = node.connect("ada").await;
        chat(&mut warm, 32, 1).await;
        chat(&mut warm, 320, 16).await;
        client = Some(warm);
    })
    .await;
    let client = client.as_mut().expect("it is connected");
    for in_flight in [1, 16] {
        let counted = node.count(async || chat(client, MESSAGES, in_flight).await).await;
        let wakes = MESSAGES / in_flight;
        assert_eq!(counted, MESSAGES * OF_THE_USER + wakes, "{MESSAGES} messages, {in_flight} in flight");
    }
    node.stop();
}

/// Lets a client that is no member send `pushes` pushes, `in_flight` of them in each write, and lets all members read
/// them.
async fn say(sender: &mut RawClient, members: &mut [RawClient], pushes: u64, in_flight: u64) {
    let say = r#"{"method":"say","message":{"text":"hello to all of you"}}"#;
    let write = segment((0..in_flight).map(|_| ClientFrame::text(say)));
    for _ in 0..pushes / in_flight {
        sender.send(&write).await;
        for member in &mut *members {
            for _ in 0..in_flight {
                assert_eq!(member.frame().await, r#"{"method":"said","message":{"text":"hello to all of you"}}"#);
            }
        }
    }
}

#[tokio::test]
async fn a_push_allocates_its_frame_and_nothing_for_each_member() {
    const PUSHES: u64 = 40;
    /// The string of the message.
    const OF_THE_USER: u64 = 1;
    /// The frame and what shares it.
    const OF_A_PUSH: u64 = 3;
    let node = CountedNode::start();
    let (mut sender, mut members) = (None, Vec::new());
    for size in [1, 25, 100] {
        node.count(async || {
            if sender.is_none() {
                sender = Some(node.connect("sender").await);
            }
            let sender = sender.as_mut().expect("it is connected");
            for number in members.len()..size {
                let mut member = node.connect(&format!("member-{number}")).await;
                assert_eq!(member.ask(r#"{"method":"join","message":null}"#).await, "true");
                members.push(member);
            }
            say(sender, &mut members, 8, 1).await;
            say(sender, &mut members, 8, 4).await;
        })
        .await;
        let sender = sender.as_mut().expect("it is connected");
        for in_flight in [1, 4] {
            let counted = node.count(async || say(sender, &mut members, PUSHES, in_flight).await).await;
            let wakes = PUSHES / in_flight;
            assert_eq!(
                counted,
                PUSHES * (OF_THE_USER + OF_A_PUSH) + wakes,
                "{PUSHES} pushes to {size} members, {in_flight} in flight"
            );
        }
    }
    node.stop();
}
