//! A rolling update behind the gateway, with sessions that are handed over: no player loses or repeats a message, and
//! each is moved once.
//!
//! `KENGINE_HAND_OVER_PLAYERS` sets how many players there are; `.ci/long` sets more than the default.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use kengine_tests::{LIMIT, NodeProcess, RedisServer, ReturningClient, TestGateway, free_address, heavy_test, within};
use serde_json::json;
use tokio::time::{sleep, timeout};

const NODE: &str = env!("CARGO_BIN_EXE_harbor_node");
const NODES: usize = 3;
const PLAYERS_PER_ROOM: usize = 10;
/// How many lines one player says at most.
const LINES: u64 = 1_000_000;
/// How often a player says two lines.
const PACE: Duration = Duration::from_millis(300);

fn players() -> usize {
    let players = std::env::var("KENGINE_HAND_OVER_PLAYERS");
    players.map_or(40, |players| players.parse().expect("a number"))
}

async fn start_node(redis: &RedisServer, version: &str) -> NodeProcess {
    let address = free_address();
    let mut command = Command::new(NODE);
    command.env("NODE_VERSION", version).arg(address.to_string()).arg(redis.url());
    let node = NodeProcess::spawn(command, address).await;
    redis.directory().await.count_is(address, Some(0)).await;
    node
}

/// A player who says lines in a room, and hears those of the others there.
struct Player {
    number: u64,
    room: String,
    client: ReturningClient,
    /// How many lines of each player were heard.
    heard: HashMap<u64, u64>,
    said: u64,
    /// How many requests are not answered.
    open: u64,
    answered: u64,
    /// How long the player was away each time.
    gaps: Vec<Duration>,
    /// How long each answer took.
    waits: Vec<Duration>,
    asked: VecDeque<Instant>,
}

impl Player {
    async fn come(gateway: SocketAddr, number: usize) -> Self {
        let mut client = ReturningClient::connect(gateway, &format!("player-{number}")).await;
        let room = format!("room-{}", number / PLAYERS_PER_ROOM);
        assert_eq!(client.ask("join", &*room, 0).await, "0: null");
        let number = number.try_into().expect("a small number");
        let (heard, gaps, waits) = (HashMap::new(), Vec::new(), Vec::new());
        Self { number, room, client, heard, said: 0, open: 0, answered: 0, gaps, waits, asked: VecDeque::new() }
    }

    async fn say(&mut self) {
        let line = self.number * LINES + self.said;
        self.said += 1;
        self.open += 1;
        self.asked.push_back(Instant::now());
        self.client.request("say", json!([self.room, line]), self.said).await;
    }

    /// Handles the next message, and comes back if that is the end of the connection.
    async fn take(&mut self, text: &str) {
        if let Some(line) = text.strip_prefix(r#"{"method":"line","message":"#) {
            let line: u64 = line.trim_end_matches('}').parse().expect("a number");
            let next = self.heard.entry(line / LINES).or_default();
            assert_eq!(line % LINES, *next, "player {} hears player {}", self.number, line / LINES);
            *next += 1;
        } else if text == "close 4000" {
            let begun = Instant::now();
            self.client.cut();
            assert!(self.client.come_back().await, "player {} is not resumed", self.number);
            self.gaps.push(begun.elapsed());
        } else if text.contains("joined") {
            // Somebody who came at the beginning.
        } else {
            self.answered += 1;
            assert_eq!(text, format!("{}: null", self.answered), "player {}", self.number);
            self.open -= 1;
            self.waits.push(self.asked.pop_front().expect("a request").elapsed());
        }
    }

    async fn next(&mut self) {
        let text = self.client.next().await.expect("a message");
        self.take(&text).await;
    }

    /// Says two lines at this pace until it is over. Reads all the time.
    async fn play(&mut self, is_over: &AtomicBool) {
        sleep(PACE / 16 * u32::try_from(self.number % 16).expect("a small number")).await;
        while !is_over.load(Ordering::Relaxed) {
            let begun = Instant::now();
            // The second request waits for the handler of the first.
            while self.open < 2 {
                self.say().await;
            }
            while let Some(left) = PACE.checked_sub(begun.elapsed()) {
                match timeout(left, self.client.next()).await {
                    Ok(text) => self.take(&text.expect("a message")).await,
                    Err(_) => break,
                }
            }
        }
    }
}

fn share(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

fn shown(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let [half, most, all] = [50, 99, 100].map(|percent| share(&times, percent));
    format!("p50 {half:.1?}, p99 {most:.1?}, at most {all:.1?}, of {}", times.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_update_hands_every_session_over() {
    let _turn = heavy_test().await;
    let redis = RedisServer::start().await;
    let gateway = TestGateway::start(&redis.url()).await;
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(start_node(&redis, "1").await);
    }
    let mut everybody = Vec::new();
    for number in 0..players() {
        everybody.push(Player::come(gateway.address(), number).await);
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let playing = everybody.into_iter().map(|mut player| {
        let is_over = Arc::clone(&is_over);
        tokio::spawn(async move {
            player.play(&is_over).await;
            player
        })
    });
    let playing: Vec<_> = playing.collect();
    for _ in 0..NODES {
        sleep(PACE * 2).await;
        let new = start_node(&redis, "2").await;
        let old = nodes.remove(0);
        old.terminate();
        old.ended().await;
        nodes.push(new);
    }
    sleep(PACE * 2).await;
    is_over.store(true, Ordering::Relaxed);
    let mut everybody = Vec::new();
    for player in join_all(playing).await {
        everybody.push(player.expect("a player who misses nothing"));
    }
    let said: HashMap<u64, u64> = everybody.iter().map(|player| (player.number, player.said)).collect();
    let others = |number: u64| {
        let first = number / PLAYERS_PER_ROOM as u64 * PLAYERS_PER_ROOM as u64;
        (first..first + PLAYERS_PER_ROOM as u64).filter(|other| said.get(other).is_some_and(|lines| *lines > 0))
    };
    let (mut gaps, mut waits, mut lines) = (Vec::new(), Vec::new(), 0);
    for player in &mut everybody {
        let complete = async {
            while player.open > 0 || others(player.number).any(|other| player.heard.get(&other) != said.get(&other)) {
                player.next().await;
            }
        };
        within("all lines", complete).await;
        assert_eq!(player.gaps.len(), 1, "player {} was moved", player.number);
        assert_eq!(player.answered, player.said);
        lines += player.heard.values().sum::<u64>();
        gaps.append(&mut player.gaps);
        waits.append(&mut player.waits);
    }
    eprintln!(
        "{} players in {} rooms said {} lines and heard {lines}, none twice",
        players(),
        players().div_ceil(PLAYERS_PER_ROOM),
        said.values().sum::<u64>()
    );
    eprintln!("from the close frame to the first message on the new node: {}", shown(gaps));
    eprintln!("from a request to its answer: {}", shown(waits));
    for player in &mut everybody {
        player.client.leave().await;
    }
    let begun = Instant::now();
    for node in nodes {
        node.terminate();
        node.ended().await;
    }
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    let keys = redis.directory().await.keys().await;
    assert!(keys.iter().all(|key| !key.contains("session")), "{keys:?}");
    assert_eq!(gateway.errors(), "");
}
