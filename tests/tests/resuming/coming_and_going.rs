//! Players who come and go: some return after a cut, in time or too late, and some never do. In the end nodes and Redis
//! hold what they held before.
//!
//! `KENGINE_VISITS_SECONDS` sets how long they come and go, and `KENGINE_VISITORS` how many they are; `.ci/long` sets
//! ten minutes and 10,000.

use std::{net::SocketAddr, ops::AddAssign, time::Duration};

use kengine_tests::{Dice, Held, RawClient, RedisServer, ReturningClient, heavy_test, until};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::node::{Node, number_in};

const MIB: usize = 1 << 20;
/// The pause between two looks at a node.
const PAUSE: Duration = Duration::from_millis(100);

/// How long the players come and go, and at which pace.
#[derive(Clone, Copy)]
struct Pace {
    time: Duration,
    /// The longest pause of a player between two visits. A visit takes up to half of it.
    pause: Duration,
    /// How long a session waits for its player.
    within: Duration,
}

impl Pace {
    fn new() -> Self {
        let time = Duration::from_secs(number_in("KENGINE_VISITS_SECONDS", 6));
        let pause = time / 8;
        Self { time, pause, within: pause / 2 }
    }
}

/// What has happened to players.
#[derive(Clone, Copy, Debug, Default)]
struct Visits {
    connections: u64,
    resumed: u64,
    /// How often a player came back, and its session was over.
    begun_anew: u64,
    vanished: u64,
    left: u64,
}

impl AddAssign for Visits {
    fn add_assign(&mut self, other: Self) {
        self.connections += other.connections;
        self.resumed += other.resumed;
        self.begun_anew += other.begun_anew;
        self.vanished += other.vanished;
        self.left += other.left;
    }
}

/// A player who visits a node again and again.
struct Visitor {
    uid: String,
    room: String,
    dice: Dice,
    pace: Pace,
    visits: Visits,
    /// An old socket that is still open, and that nobody reads.
    old: Option<RawClient>,
}

impl Visitor {
    fn new(number: usize, pace: Pace, phase: u64) -> Self {
        let dice = Dice::new(number as u64 + (phase << 32));
        let (uid, room) = (format!("visitor-{number}"), format!("plaza {}", number / 10));
        Self { uid, room, dice, pace, visits: Visits::default(), old: None }
    }

    /// Comes and goes for this long.
    async fn run(mut self, nodes: [SocketAddr; 2], time: Duration) -> Visits {
        let end = Instant::now() + time;
        self.wait(self.pace.pause).await;
        while Instant::now() < end {
            let node = nodes[self.dice.roll(nodes.len())];
            self.visit(node, end).await;
            self.wait(self.pace.pause).await;
        }
        self.visits
    }

    async fn wait(&mut self, most: Duration) {
        let most = usize::try_from(most.as_millis()).expect("a while");
        sleep(Duration::from_millis(self.dice.roll(most.max(1)) as u64)).await;
    }

    async fn visit(&mut self, node: SocketAddr, end: Instant) {
        let mut client = ReturningClient::connect_to(node, &format!("/ws?name={}", self.uid)).await;
        self.old = None;
        self.visits.connections += 1;
        let mut id = 0;
        loop {
            assert_eq!(client.ask("board", &*self.room, id).await, format!("{id}: null"), "{}", self.uid);
            for _ in 0..self.dice.roll(5) {
                id += 1;
                assert_eq!(client.ask("echo", id, id).await, format!("{id}: {id}"), "{}", self.uid);
            }
            self.wait(self.pace.pause / 8).await;
            id += 1;
            // Whoever must end soon does not come back.
            let outcomes = if Instant::now() < end { 5 } else { 2 };
            match self.dice.roll(outcomes) {
                0 => {
                    self.visits.left += 1;
                    return client.leave().await;
                }
                1 => {
                    self.visits.vanished += 1;
                    return self.cut(&mut client).await;
                }
                how => {
                    client.request("echo", id, id).await;
                    self.cut(&mut client).await;
                    if how == 2 {
                        self.wait(self.pace.within * 2).await;
                    }
                    self.visits.connections += 1;
                    if client.come_back().await {
                        self.visits.resumed += 1;
                        assert_eq!(client.answer(id).await, format!("{id}: {id}"), "{}", self.uid);
                    } else {
                        self.visits.begun_anew += 1;
                    }
                }
            }
            id += 1;
        }
    }

    /// Cuts the connection.
    async fn cut(&mut self, client: &mut ReturningClient) {
        let mut old = client.leave_socket();
        match self.dice.roll(3) {
            0 => {
                old.stop_writing().await;
                self.old = Some(old);
            }
            1 => old.reset(),
            _ => self.old = Some(old),
        }
    }
}

/// Lets these many players come and go for this long.
async fn come_and_go(nodes: &[Node; 2], players: usize, pace: Pace, time: Duration, phase: u64) -> Visits {
    let addresses = nodes.each_ref().map(Node::address);
    let mut visiting = JoinSet::new();
    for number in 0..players {
        visiting.spawn(Visitor::new(number, pace, phase).run(addresses, time));
    }
    let mut sum = Visits::default();
    while let Some(visits) = visiting.join_next().await {
        sum += visits.expect("a visitor who is served");
    }
    sum
}

/// What a node without players holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Baseline {
    connections: usize,
    suspended: usize,
    rooms: usize,
    queued_bytes: usize,
    tasks: usize,
    files: usize,
}

impl Baseline {
    /// Looks at a node, after a pause in which the connections of the last look end.
    async fn of(node: &Node) -> Self {
        sleep(PAUSE).await;
        let mut watch = node.watch().await;
        let Held { connections, suspended, rooms, queued_bytes, tasks, .. } = watch.held().await;
        let files = node.process.open_files();
        watch.end().await;
        Self { connections, suspended, rooms, queued_bytes, tasks, files }
    }

    /// Waits until the node holds this much, and returns its resident memory in bytes.
    async fn is_back(self, node: &Node) -> usize {
        let mut seen = self;
        until("a node as it was before", async || {
            let now = Self::of(node).await;
            if now != seen {
                eprintln!("{now:?} instead of {self:?}");
                seen = now;
            }
            (now == self).then_some(())
        })
        .await;
        node.process.resident()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn players_who_come_and_go_leave_nothing() {
    let _turn = heavy_test().await;
    let pace = Pace::new();
    let players = usize::try_from(number_in("KENGINE_VISITORS", 300)).expect("a crowd");
    let redis = RedisServer::start().await;
    let nodes = [Node::start(&redis, pace.within).await, Node::start(&redis, pace.within).await];
    let mut directory = redis.directory().await;
    let mut keys = async || {
        let mut keys = directory.keys().await;
        keys.sort_unstable();
        keys
    };
    let keys_before = keys().await;
    let mut baselines = Vec::new();
    for node in &nodes {
        // Those who look are there, and nobody else.
        let is_alone = |now: Baseline| ((now.connections, now.tasks) == (2, 2)).then_some(now);
        baselines.push(until("a node without players", async || is_alone(Baseline::of(node).await)).await);
    }
    let first = nodes.each_ref().map(|node| node.process.resident());

    // What a node keeps after the warm-up are buffers, counters, and the allocator's pages.
    let mut resident = Vec::new();
    for (phase, time) in [pace.time / 3, pace.time / 3 * 2].into_iter().enumerate() {
        let visits = come_and_go(&nodes, players, pace, time, phase as u64).await;
        println!("{players} players for {time:?}: {visits:?}");
        assert!(visits.resumed > 0 && visits.begun_anew > 0 && visits.vanished > 0 && visits.left > 0);
        for (node, baseline) in nodes.iter().zip(&baselines) {
            resident.push(baseline.is_back(node).await);
        }
        until("the same keys", async || (keys().await == keys_before).then_some(())).await;
    }
    for (node, baseline) in nodes.iter().zip(&baselines) {
        directory.count_is(node.address(), Some(0)).await;
        let told = node.told().await;
        println!("{baseline:?}; {told:?}");
        // Who asks has not left yet.
        assert_eq!(told.opened, told.closed.values().sum::<usize>() + 1);
        let reasons = ["closed by the client", "not resumed", "replaced by a newer connection"];
        assert_eq!(told.closed.keys().collect::<Vec<_>>(), reasons);
    }
    for (node, first) in first.into_iter().enumerate() {
        let [warm, last] = [resident[node], resident[node + 2]];
        println!("node {node}: {} KiB at first, {} KiB, and in the end {} KiB", first / 1024, warm / 1024, last / 1024);
        assert!(last <= warm + 8 * MIB, "{last} bytes after {warm}");
    }
    for node in nodes {
        node.stop().await;
    }
}
