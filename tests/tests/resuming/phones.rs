//! A phone's life: players whose connections are cut every two seconds, behind the gateway of a cluster, while they
//! send requests and hear each other.
//!
//! `KENGINE_PHONE_SECONDS` sets how long it lasts, and `KENGINE_PHONES` how many players there are; `.ci/long` sets a
//! minute and 200.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use futures_util::future::join_all;
use kengine_tests::{
    Audit, Call, ClientFrame, Dice, RawClient, RedisServer, ReturningClient, TestGateway, heavy_test, until,
};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, interval},
};

use crate::node::{Node, number_in};

/// How long a session waits for its player. Nobody is away that long.
const WITHIN: Duration = Duration::from_secs(300);
/// The players of each room.
const ROOM: usize = 10;
const REQUESTS_PER_SECOND: u64 = 20;
/// How many requests there are from one cut to the next.
const REQUESTS_PER_CUT: u64 = 2 * REQUESTS_PER_SECOND;

/// How a connection is cut. The client opens another one at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The client ends its side of TCP.
    End,
    /// The client resets TCP.
    Reset,
    /// The client's side of TCP stays open, and the client neither reads nor answers.
    Silence,
}

impl Cut {
    const ALL: [Self; 3] = [Self::End, Self::Reset, Self::Silence];
}

/// What others do in the room, as a player hears of it.
#[derive(Deserialize)]
#[serde(tag = "method", content = "message", rename_all = "lowercase")]
enum News {
    Call(Call),
    Joined(Who),
    Left(Who),
}

#[derive(Deserialize)]
struct Who {
    uid: String,
}

/// A player on a phone.
struct Phone {
    client: ReturningClient,
    uid: String,
    room: String,
    dice: Dice,
    /// The number of its next request, which is its id.
    next: u64,
    /// How many requests were answered.
    answered: u64,
    /// The last call that it has heard from each other player in the room.
    heard: BTreeMap<String, u64>,
    joined: BTreeSet<String>,
    left: BTreeSet<String>,
    /// The old socket, if it is still open.
    old: Option<RawClient>,
    /// How long each return took.
    gaps: Vec<Duration>,
}

impl Phone {
    async fn board(gateway: SocketAddr, number: usize) -> Self {
        let (uid, room) = (format!("phone-{number}"), format!("tram {}", number / ROOM));
        let mut client = ReturningClient::connect_to(gateway, &format!("/ws?name={uid}")).await;
        assert_eq!(client.ask("board", &*room, u64::MAX).await, format!("{}: null", u64::MAX));
        Self {
            client,
            uid,
            room,
            dice: Dice::new(number as u64),
            next: 0,
            answered: 0,
            heard: BTreeMap::new(),
            joined: BTreeSet::new(),
            left: BTreeSet::new(),
            old: None,
            gaps: Vec::new(),
        }
    }

    /// Sends this many requests at their times, and is cut again and again. Returns when all of them are answered.
    async fn live(mut self, requests: u64) -> Self {
        let mut turns = interval(Duration::from_secs(1) / u32::try_from(REQUESTS_PER_SECOND).expect("a few"));
        let offset = self.dice.roll(usize::try_from(REQUESTS_PER_CUT).expect("a few")) as u64;
        while self.next < requests {
            tokio::select! {
                biased;
                _ = turns.tick() => {
                    let request = self.request();
                    if (self.next + offset).is_multiple_of(REQUESTS_PER_CUT) {
                        self.cut(request).await;
                    } else {
                        self.client.send(request).await;
                    }
                }
                message = self.client.next() => self.take(&message.expect("no cut but our own")),
            }
        }
        while self.answered < requests {
            self.listen().await;
        }
        self
    }

    /// Returns the text of the next request.
    fn request(&mut self) -> String {
        let id = self.next;
        self.next += 1;
        match id % REQUESTS_PER_SECOND {
            0 => json!({"method": "call", "message": [self.room, id], "id": id}).to_string(),
            _ => json!({"method": "work", "message": id, "id": id}).to_string(),
        }
    }

    /// Sends a part of a request, perhaps nothing or all of it. Then the connection is cut, and the player comes back
    /// at the first attempt.
    async fn cut(&mut self, request: String) {
        self.client.send_start(request, |length| self.dice.roll(length + 1)).await;
        let mut old = self.client.leave_socket();
        self.old = match Cut::ALL[self.dice.roll(Cut::ALL.len())] {
            Cut::End => {
                old.stop_writing().await;
                // Closing a socket with unread data would reset it.
                Some(old)
            }
            Cut::Reset => {
                old.reset();
                None
            }
            Cut::Silence => Some(old),
        };
        let cut = Instant::now();
        assert_eq!(self.client.try_come_back().await, Some(true), "{} after {} cuts", self.uid, self.gaps.len());
        self.gaps.push(cut.elapsed());
    }

    async fn listen(&mut self) {
        let message = self.client.next().await.expect("no cut but our own");
        self.take(&message);
    }

    fn take(&mut self, message: &str) {
        let uid = &self.uid;
        let Ok(news) = serde_json::from_str(message) else {
            let id = self.answered;
            assert_eq!(message, format!("{id}: {id}"), "{uid}: the next answer");
            self.answered += 1;
            return;
        };
        match news {
            News::Call(Call { from, number }) => {
                let expected = self.heard.get(&from).map_or(0, |last| last + REQUESTS_PER_SECOND);
                assert_eq!(number, expected, "{uid}: the next call of {from}");
                self.heard.insert(from, number);
            }
            News::Joined(who) => assert!(self.joined.insert(who.uid), "{uid}: {message} again"),
            News::Left(who) => assert!(self.left.insert(who.uid), "{uid}: {message} again"),
        }
    }

    /// Reads until it has heard every call of this many players.
    async fn hear_all(&mut self, others: usize, requests: u64) {
        let last = (requests - 1) / REQUESTS_PER_SECOND * REQUESTS_PER_SECOND;
        while self.heard.values().filter(|heard| **heard == last).count() < others {
            self.listen().await;
        }
    }

    /// Leaves for good.
    async fn leave(mut self) {
        self.client.socket().send_frames([ClientFrame::close(1000, "")]).await;
        loop {
            match self.client.next().await.expect("a close frame") {
                close if close.starts_with("close ") => return assert_eq!(close, "close 1000"),
                message => self.take(&message),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_is_cut_every_two_seconds_loses_nothing() {
    let _turn = heavy_test().await;
    let requests = number_in("KENGINE_PHONE_SECONDS", 6) * REQUESTS_PER_SECOND;
    let players = usize::try_from(number_in("KENGINE_PHONES", 30)).expect("a crowd");
    let redis = RedisServer::start().await;
    let nodes = join_all((0..3).map(|_| Node::start(&redis, WITHIN))).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let audit = Audit::start(&redis);
    let mut phones = join_all((0..players).map(|number| Phone::board(gateway.address(), number))).await;

    let start = Instant::now();
    let mut living = JoinSet::new();
    for phone in phones.drain(..) {
        living.spawn(phone.live(requests));
    }
    while let Some(phone) = living.join_next().await {
        phones.push(phone.expect("a phone that works"));
    }
    let lasted = start.elapsed();
    let mut rooms = BTreeMap::<_, Vec<Phone>>::new();
    for phone in phones {
        rooms.entry(phone.room.clone()).or_default().push(phone);
    }
    for phones in rooms.values_mut() {
        let others = phones.len() - 1;
        join_all(phones.iter_mut().map(|phone| phone.hear_all(others, requests))).await;
    }
    audit.passed().await;

    // Each request has run once, on the node of its player.
    let everybody = || rooms.values().flatten();
    let mut uids = Vec::new();
    for node in &nodes {
        let there = join_all(everybody().map(async |phone| {
            let runs: Vec<u64> = node.ask("runs", &*phone.uid).await;
            let is_here = !runs.is_empty();
            assert!(!is_here || runs == (0..requests).collect::<Vec<_>>(), "the runs of {}: {runs:?}", phone.uid);
            is_here.then(|| phone.uid.clone())
        }));
        let there: Vec<_> = there.await.into_iter().flatten().collect();
        assert!(there.len() > players / 6, "{} of {players} players on a node", there.len());
        uids.extend(there);
    }
    uids.sort_unstable();
    uids.dedup();
    assert_eq!(uids.len(), players, "players whose requests ran on one node");

    // Nobody was told that a player has left, and now they are told.
    let mut gaps: Vec<_> = everybody().flat_map(|phone| phone.gaps.clone()).collect();
    assert!(everybody().all(|phone| phone.left.is_empty()));
    for mut phones in rooms.into_values() {
        let first = phones.remove(0);
        let uid = first.uid.clone();
        first.leave().await;
        for phone in &mut phones {
            while !phone.left.contains(&uid) {
                phone.listen().await;
            }
        }
        join_all(phones.into_iter().map(Phone::leave)).await;
    }

    // The gateway was asked once for each cut, and has sent everybody to the right node at once.
    let sent_to = gateway.sent_to(players + gaps.len()).await;
    assert_eq!(sent_to.len(), players + gaps.len());
    let addresses: Vec<_> = nodes.iter().map(|node| node.address().to_string()).collect();
    assert!(sent_to.iter().all(|node| addresses.contains(node)), "{sent_to:?}");
    assert_eq!(gateway.errors(), "");
    for node in nodes {
        let held = until("the end of every connection", async || {
            let held = node.held().await;
            (held.connections == 1).then_some(held)
        })
        .await;
        assert_eq!((held.suspended, held.rooms, held.refusals), (0, 0, BTreeMap::new()));
        let told = node.told().await;
        assert_eq!(told.suspended, told.resumed, "{told:?}");
        assert_eq!(told.closed.keys().collect::<Vec<_>>(), ["closed by the client"]);
        node.stop().await;
    }
    gaps.sort_unstable();
    let at = |percent: usize| gaps[(gaps.len() - 1) * percent / 100];
    println!(
        "{players} phones, {requests} requests each in {lasted:?}, {} cuts; back after {:?} (median), {:?} (p99), {:?} \
         (at most)",
        gaps.len(),
        at(50),
        at(99),
        at(100),
    );
}
