//! A room under load: senders number their sends, and members check what they receive.

use std::{
    array,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use kengine::{Hub, Push};
use serde::{Deserialize, Serialize};
use tokio::time::interval;

use crate::{ClientFrame, RawClient, TestServer};

/// The room that everything is sent to.
const ROOM: &str = "arena";

/// Returns how long rooms are put under load: `KENGINE_STRESS_SECONDS` seconds, or 3.
pub fn stress_time() -> Duration {
    let seconds = std::env::var("KENGINE_STRESS_SECONDS");
    Duration::from_secs(seconds.map_or(3, |seconds| seconds.parse().expect("seconds")))
}

/// A push: its sender, and how many that sender has sent before.
#[derive(Serialize, Deserialize, Push)]
struct Sent {
    sender: usize,
    number: u32,
}

/// How many sends of one sender may be on the way to another node.
const MAX_ON_THE_WAY: u32 = 4;

/// How many sends each sender has begun and finished.
#[derive(Debug)]
pub struct Sends<const SENDERS: usize> {
    /// Counted before a send.
    begun: [AtomicU32; SENDERS],
    /// Counted after it.
    done: [AtomicU32; SENDERS],
    /// How many of them have come to a member of each node, if there are several nodes.
    arrived: Vec<[AtomicU32; SENDERS]>,
}

impl<const SENDERS: usize> Default for Sends<SENDERS> {
    fn default() -> Self {
        let zeros = || array::from_fn(|_| AtomicU32::new(0));
        Self { begun: zeros(), done: zeros(), arrived: Vec::new() }
    }
}

impl<const SENDERS: usize> Sends<SENDERS> {
    /// Counts sends between this many nodes. A member must stay in the room on each of them.
    pub fn between(nodes: usize) -> Arc<Self> {
        let zeros = |_| array::from_fn(|_| AtomicU32::new(0));
        Arc::new(Self { arrived: (0..nodes).map(zeros).collect(), ..Self::default() })
    }

    /// Returns how many sends each sender has begun.
    pub fn begun(&self) -> [u32; SENDERS] {
        self.begun.each_ref().map(|begun| begun.load(Ordering::SeqCst))
    }

    /// Returns how many sends each sender has finished.
    pub fn done(&self) -> [u32; SENDERS] {
        self.done.each_ref().map(|done| done.load(Ordering::SeqCst))
    }

    /// Whether so few sends are on the way to each node that another one may follow. So a slow machine gets no more
    /// than it delivers.
    fn may_follow(&self, sender: usize) -> bool {
        let begun = self.begun[sender].load(Ordering::SeqCst);
        self.arrived.iter().all(|arrived| begun < arrived[sender].load(Ordering::SeqCst) + MAX_ON_THE_WAY)
    }

    /// Sends to the room, once in each interval at most, until `stop` is set.
    pub async fn send(self: Arc<Self>, sender: usize, hub: Hub, every: Duration, stop: Arc<AtomicBool>) {
        let mut turns = interval(every);
        while !stop.load(Ordering::SeqCst) {
            turns.tick().await;
            if !self.may_follow(sender) {
                continue;
            }
            let number = self.begun[sender].fetch_add(1, Ordering::SeqCst);
            hub.room(ROOM).send(&Sent { sender, number }).expect("a send that is taken");
            self.done[sender].fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A player of the [`Town`](crate::Town) in the room, who must receive each send once, and those of one sender in
/// order.
#[derive(Debug)]
pub struct RoomMember<const SENDERS: usize> {
    client: RawClient,
    sends: Arc<Sends<SENDERS>>,
    /// The number of its node, if there are several. On the only node, a send has reached every member's outbox when it
    /// returns.
    node: Option<usize>,
    /// The lowest number that may come next from each sender.
    next: [u32; SENDERS],
    /// The first number from each sender since which the member must receive every send, until it leaves.
    from: [u32; SENDERS],
    received: u32,
}

impl<const SENDERS: usize> RoomMember<SENDERS> {
    /// Connects to the only node.
    pub async fn of_one_node(server: &TestServer, sends: &Arc<Sends<SENDERS>>) -> Self {
        Self::connect(server, sends, None).await
    }

    /// Connects to one of several nodes, which has this number.
    pub async fn of_many_nodes(server: &TestServer, node: usize, sends: &Arc<Sends<SENDERS>>) -> Self {
        Self::connect(server, sends, Some(node)).await
    }

    async fn connect(server: &TestServer, sends: &Arc<Sends<SENDERS>>, node: Option<usize>) -> Self {
        let client = RawClient::connect(server.address()).await;
        let (next, from) = ([0; SENDERS], [u32::MAX; SENDERS]);
        Self { client, sends: Arc::clone(sends), node, next, from, received: 0 }
    }

    /// Returns the counts of the sends that it must receive.
    pub fn sends(&self) -> &Arc<Sends<SENDERS>> {
        &self.sends
    }

    /// Returns how many sends it has received.
    pub fn received(&self) -> u32 {
        self.received
    }

    /// Reads one frame and checks it; returns whether it is the answer to a request.
    pub async fn read(&mut self) -> bool {
        #[derive(Deserialize)]
        struct Frame {
            message: Option<Sent>,
        }
        let mut frame = self.client.next().await.expect("a connection that lasts");
        while frame.opcode == 0x9 {
            self.client.send_frames([ClientFrame::pong(frame.payload)]).await;
            frame = self.client.next().await.expect("a connection that lasts");
        }
        let text = std::str::from_utf8(&frame.payload).expect("a text");
        let frame: Frame = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let Some(Sent { sender, number }) = frame.message else {
            assert!(text.starts_with(r#"{"id":1,"result""#), "{text}");
            return true;
        };
        let (next, from) = (self.next[sender], self.from[sender]);
        if number >= from {
            assert_eq!(number, next.max(from), "a send of sender {sender} is missing, or came twice");
        } else {
            assert!(number >= next, "send {number} of sender {sender} came twice, or after the member had left");
        }
        self.next[sender] = number + 1;
        if let Some(node) = self.node {
            self.sends.arrived[node][sender].fetch_max(number + 1, Ordering::SeqCst);
        }
        self.received += 1;
        false
    }

    /// Joins the room.
    pub async fn join(&mut self) {
        // A send that finished before the request to join must not reach this member.
        self.from = [u32::MAX; SENDERS];
        if self.node.is_none() {
            self.next = self.sends.done();
        }
        self.request("join").await;
        // A send that begins after the answer must reach it. One in between may.
        self.from = self.sends.begun();
    }

    /// Leaves the room and reads everything that was sent before.
    pub async fn leave(&mut self) {
        if self.node.is_some() {
            self.catch_up().await;
        }
        let until = self.sends.done();
        self.request("leave").await;
        if self.node.is_none() {
            // While the socket is blocked, the answer may overtake pushes; they follow it.
            self.read_up_to(until).await;
        }
    }

    /// Reads everything that has been sent so far.
    pub async fn catch_up(&mut self) {
        self.read_up_to(self.sends.done()).await;
    }

    async fn read_up_to(&mut self, until: [u32; SENDERS]) {
        while (0..SENDERS).any(|sender| self.next[sender].max(self.from[sender]) < until[sender]) {
            assert!(!self.read().await, "an answer without a request");
        }
    }

    async fn request(&mut self, route: &str) {
        let request = format!(r#"{{"method":"{route}","message":"{ROOM}","id":1}}"#);
        self.client.send_frames([ClientFrame::text(request)]).await;
        while !self.read().await {}
    }
}
