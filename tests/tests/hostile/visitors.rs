//! Honest clients that come and go: they join rooms, chat, leave, and close or vanish. They check everything that they
//! receive.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use kengine_tests::{ClientFrame, Dice, HttpClient, RawClient, Upgrade, connect_from, within};
use serde::Deserialize;
use tokio::{task::JoinSet, time::sleep};

use crate::row::PING;

/// The rooms in which visitors meet.
const ROOMS: usize = 8;
/// The most messages that a visitor sends in a room. With those to join and leave, they are fewer than the default
/// limit of a client's burst.
const MAX_MESSAGES: usize = 20;
/// The most messages of a visitor that are not answered yet.
const MAX_IN_FLIGHT: usize = 4;
/// The longest pause between two visits, in milliseconds.
const MAX_PAUSE: usize = 400;
/// How long a visitor may read nothing, in milliseconds.
const MAX_UNREAD: usize = 1000;

/// What visitors have done and received.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Visits {
    pub(crate) connections: u64,
    pub(crate) joins: u64,
    /// The messages that were answered, which are all that were sent.
    pub(crate) answers: u64,
    /// The messages of other visitors.
    pub(crate) heard: u64,
    /// The answers that say that other nodes could not be reached.
    pub(crate) unavailable: u64,
    /// How many times a message of another visitor was missing.
    pub(crate) gaps: u64,
}

/// Visitors who come and go until they are stopped.
pub(crate) struct Visitors {
    visiting: JoinSet<Visits>,
    stop: Arc<AtomicBool>,
}

impl Visitors {
    /// Starts this many visitors of these nodes.
    pub(crate) fn start(nodes: &[SocketAddr], count: usize) -> Self {
        let (mut visiting, stop) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
        let begun = Arc::new(AtomicU64::new(0));
        for number in 0..count {
            let (nodes, stop, begun) = (nodes.to_vec(), Arc::clone(&stop), Arc::clone(&begun));
            visiting.spawn(async move {
                let mut dice = Dice::new(number as u64);
                let mut visits = Visits::default();
                while !stop.load(Ordering::SeqCst) {
                    let node = nodes[dice.roll(nodes.len())];
                    let uid = format!("visitor-{number}-{}", visits.connections);
                    Visit::begin(node, address(number), uid).await.run(&begun, &mut dice, &mut visits).await;
                    pause(&mut dice, MAX_PAUSE).await;
                }
                visits
            });
        }
        Self { visiting, stop }
    }

    /// Stops the visitors, each of which must have seen what it had to see. Returns what they have done.
    pub(crate) async fn passed(mut self) -> Visits {
        self.stop.store(true, Ordering::SeqCst);
        let mut sum = Visits::default();
        while let Some(visits) = within("a visitor", self.visiting.join_next()).await {
            let visits = visits.expect("a visitor who is served");
            sum.connections += visits.connections;
            sum.joins += visits.joins;
            sum.answers += visits.answers;
            sum.heard += visits.heard;
            sum.unavailable += visits.unavailable;
            sum.gaps += visits.gaps;
        }
        sum
    }

    /// Panics if a visitor has seen something wrong.
    pub(crate) fn check(&mut self) {
        if let Some(ended) = self.visiting.try_join_next() {
            ended.expect("a visitor who is served");
            panic!("a visitor has ended although it was not stopped");
        }
    }
}

/// Waits for up to this many milliseconds.
async fn pause(dice: &mut Dice, most: usize) {
    sleep(Duration::from_millis(dice.roll(most) as u64)).await;
}

/// Returns the address from which a visitor connects, which no hostile client has.
fn address(visitor: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x7f02_0000 + u32::try_from(visitor).expect("a small number"))
}

/// One connection of a visitor.
struct Visit {
    client: RawClient,
    uid: String,
    /// How many messages it has sent, whose numbers are their ids.
    sent: usize,
    /// The answers that must come next: an id and the result.
    awaited: VecDeque<String>,
    answers: u64,
    /// How many messages of all visitors had begun when its last request to join was answered. It must hear all later
    /// ones, and may hear a part of the earlier ones. The highest number while it is no member.
    since: u64,
    /// The last message of each other visitor in each of its stays in a room: its number there, and how many messages
    /// of all visitors had begun before it.
    last: BTreeMap<String, (usize, u64)>,
    heard: u64,
    unavailable: u64,
    gaps: u64,
}

impl Visit {
    async fn begin(node: SocketAddr, from: Ipv4Addr, uid: String) -> Self {
        let mut http = HttpClient::over(connect_from(from, node).await);
        let response = http.request(&Upgrade::new(node).path(format!("/ws?uid={uid}")).bytes()).await;
        assert_eq!(response.status, 101, "{uid}: {response:?}");
        let (awaited, last) = (VecDeque::new(), BTreeMap::new());
        Self {
            client: http.into_websocket(),
            uid,
            sent: 0,
            awaited,
            answers: 0,
            since: u64::MAX,
            last,
            heard: 0,
            unavailable: 0,
            gaps: 0,
        }
    }

    async fn run(mut self, begun: &AtomicU64, dice: &mut Dice, visits: &mut Visits) {
        for stay in 0..=dice.roll(3) {
            let room = format!("plaza {}", dice.roll(ROOMS));
            self.request("join", &format!(r#""{room}""#), "null").await;
            let unavailable = self.unavailable;
            self.answered(0).await;
            if self.unavailable > unavailable {
                continue;
            }
            self.since = begun.load(Ordering::SeqCst);
            if dice.roll(8) == 0 {
                // It reads slowly.
                pause(dice, MAX_UNREAD).await;
            }
            for number in 0..dice.roll(MAX_MESSAGES) {
                let before = begun.fetch_add(1, Ordering::SeqCst);
                let text = format!("{} {room} {stay} {number} {before}", self.uid);
                self.request("say", &format!(r#"["{room}","{text}"]"#), "null").await;
                self.answered(dice.roll(MAX_IN_FLIGHT)).await;
            }
            self.request("leave", &format!(r#""{room}""#), "true").await;
            self.answered(0).await;
            self.since = u64::MAX;
            visits.joins += 1;
        }
        visits.connections += 1;
        visits.answers += self.answers;
        visits.heard += self.heard;
        visits.unavailable += self.unavailable;
        visits.gaps += self.gaps;
        match dice.roll(4) {
            0 => self.client.reset(),
            1 => drop(self.client),
            2 => {
                // It does not read what it has asked for.
                self.client.send_frames([ClientFrame::text(r#"{"method":"pages","message":100}"#)]).await;
                pause(dice, MAX_UNREAD).await;
            }
            _ => {
                self.client.send_frames([ClientFrame::close(1000, "")]).await;
                while self.client.next().await.is_ok_and(|frame| frame.opcode != 0x8) {}
                assert_eq!(self.client.transcript().await, ["end of TCP"], "{} after its close", self.uid);
            }
        }
    }

    /// Sends a request that must have this result.
    async fn request(&mut self, route: &str, message: &str, result: &str) {
        let id = self.sent;
        let text = format!(r#"{{"method":"{route}","message":{message},"id":{id}}}"#);
        self.client.send_frames([ClientFrame::text(text)]).await;
        self.awaited.push_back(format!("{id}: {result}"));
        self.sent += 1;
    }

    /// Reads until at most this many requests are not answered.
    async fn answered(&mut self, in_flight: usize) {
        #[derive(Deserialize)]
        struct Said {
            message: String,
        }
        while self.awaited.len() > in_flight {
            let frame = self.client.next().await.unwrap_or_else(|end| panic!("{}: {end}", self.uid));
            if frame.opcode == PING {
                self.client.send_frames([ClientFrame::pong(frame.payload)]).await;
            } else if let Ok(Said { message }) = serde_json::from_slice(&frame.payload) {
                let mut words = message.rsplitn(3, ' ');
                let before: u64 = words.next().and_then(|word| word.parse().ok()).expect("a number");
                let number: usize = words.next().and_then(|word| word.parse().ok()).expect("a number");
                let from = words.next().expect("a visitor, a room and a stay");
                if let Some((last, last_before)) = self.last.insert(from.to_owned(), (number, before)) {
                    let is_next = number == last + 1 || last_before < self.since;
                    assert!(number > last, "{}: message {number} of {from} after {last}", self.uid);
                    self.gaps += u64::from(!is_next);
                }
                self.heard += 1;
            } else {
                let (shown, awaited) = (frame.to_string(), self.awaited.pop_front().expect("a request"));
                let id = self.sent - self.awaited.len() - 1;
                if shown == format!("{id}: error unavailable") {
                    self.unavailable += 1;
                } else {
                    assert_eq!(shown, awaited, "{}: the next answer", self.uid);
                }
                self.answers += 1;
            }
        }
    }
}
