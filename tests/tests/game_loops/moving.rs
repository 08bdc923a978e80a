//! Loops move between nodes that are killed, frozen and drained, while bots play.
//!
//! `KENGINE_GAME_LOOP_SECONDS` sets how long 200 bots play in 23 rooms. Without it, 12 bots play in 4 rooms until each
//! fault has happened once.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use kengine_tests::{Folder, NodeProcess, RallyEvent, RallyLine, RedisServer, Return, free_address, until};
use redis::AsyncCommands;
use serde::Deserialize;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{connect_async, tungstenite::Message};

/// The lease of each node.
const LEASE: Duration = Duration::from_secs(2);
/// How long a bot waits for an answer before it connects to another node.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the bots of a test share.
struct Court {
    nodes: Vec<SocketAddr>,
    rooms: usize,
    /// When each room's loop last replied, and what.
    replies: Mutex<BTreeMap<String, (Instant, Return)>>,
}

#[derive(Deserialize)]
struct Answered {
    id: Option<u64>,
    result: Option<Return>,
}

impl Court {
    fn room(&self, number: usize) -> String {
        format!("court-{}", number % self.rooms)
    }

    /// Waits until each room has had a reply to a question that was asked after this moment.
    async fn plays_on(&self, since: Instant) {
        until("a reply in each room", async || {
            let replies = self.replies.lock().unwrap();
            let fresh = replies.values().filter(|(at, _)| *at > since + PATIENCE.min(LEASE)).count();
            (fresh == self.rooms).then_some(())
        })
        .await;
    }

    /// Plays on one node after another.
    async fn bot(self: Arc<Self>, number: usize, ended: watch::Receiver<bool>) {
        let mut serial = number;
        while !*ended.borrow() {
            let node = self.nodes[serial % self.nodes.len()];
            let _ = self.play(node, number, serial, &ended).await;
            serial += 1;
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Plays on a node until the connection fails.
    async fn play(&self, node: SocketAddr, number: usize, serial: usize, ended: &watch::Receiver<bool>) -> Option<()> {
        let room = self.room(number);
        // Messages over two nodes have no order, so each connection is another user.
        let url = format!("ws://{node}/ws?uid=bot-{number}-{serial}");
        let (mut socket, _) = timeout(PATIENCE, connect_async(url)).await.ok()?.ok()?;
        socket.send(Message::text(format!(r#"{{"method":"play","message":"{room}"}}"#))).await.ok()?;
        for turn in 0_u64.. {
            if *ended.borrow() {
                break;
            }
            for (method, id) in [("tap", 2 * turn), ("hit", 2 * turn + 1)] {
                let message = format!(r#"{{"method":"{method}","message":["{room}",{id}],"id":{id}}}"#);
                socket.send(Message::text(message)).await.ok()?;
            }
            let reply = async {
                loop {
                    let Message::Text(text) = socket.next().await?.ok()? else { continue };
                    let answered: Answered = serde_json::from_str(&text).unwrap_or(Answered { id: None, result: None });
                    if answered.id == Some(2 * turn + 1) {
                        return Some(answered.result);
                    }
                }
            };
            if let Some(reply) = timeout(PATIENCE, reply).await.ok()?? {
                assert_eq!(reply.number, 2 * turn + 1);
                self.replies.lock().unwrap().insert(room.clone(), (Instant::now(), reply));
            }
            sleep(Duration::from_millis(40)).await;
        }
        Some(())
    }
}

async fn start(address: SocketAddr, redis: &str, log: &Path) -> NodeProcess {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loop_node"));
    command.env("KENGINE_LOOP_LOG", log);
    NodeProcess::start_from(command, address, redis, LEASE).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_has_one_loop_at_every_moment() {
    let seconds = env::var("KENGINE_GAME_LOOP_SECONDS").ok().map(|seconds| seconds.parse().expect("a number"));
    let (bots, rooms) = if seconds.is_some() { (200, 23) } else { (12, 4) };
    let (folder, redis) = (Folder::new(), RedisServer::start().await);
    let log: PathBuf = folder.join("loops.log");
    let addresses = [(); 3].map(|()| free_address());
    let mut nodes = Vec::new();
    for address in addresses {
        nodes.push(start(address, &redis.url(), &log).await);
    }
    let court = Arc::new(Court { nodes: addresses.to_vec(), rooms, replies: Mutex::default() });
    let (end, ended) = watch::channel(false);
    let mut playing = JoinSet::new();
    for number in 0..bots {
        playing.spawn(Arc::clone(&court).bot(number, ended.clone()));
    }
    let mut directory = redis.connection().await;
    for number in 0..rooms {
        let key = format!("{{kengine}}:loop:{}", court.room(number));
        until("a saved loop", async || {
            let saved: Option<String> = directory.hget(&key, "saved").await.expect("a hash");
            saved.is_some_and(|saved| !saved.contains(r#""step":0"#)).then_some(())
        })
        .await;
    }
    // What the loops do without faults.
    sleep(Duration::from_secs(seconds.unwrap_or(0) / 4)).await;
    let calm = RallyLine::read(&log);
    let begun = Instant::now();
    let mut drained = BTreeSet::new();
    for round in 0.. {
        let node = round % nodes.len();
        let since = Instant::now();
        match round % 3 {
            0 => {
                nodes[node].kill();
                court.plays_on(since).await;
                nodes[node] = start(addresses[node], &redis.url(), &log).await;
            }
            1 => {
                nodes[node].freeze();
                court.plays_on(since).await;
                nodes[node].thaw();
                court.plays_on(Instant::now()).await;
            }
            _ => {
                drained.insert(nodes[node].pid());
                nodes[node].terminate();
                court.plays_on(since).await;
                let other = start(free_address(), &redis.url(), &log).await;
                std::mem::replace(&mut nodes[node], other).ended().await;
                nodes[node] = start(addresses[node], &redis.url(), &log).await;
            }
        }
        if round + 1 >= 3 && begun.elapsed() >= Duration::from_secs(seconds.unwrap_or(0)) {
            break;
        }
    }
    end.send_replace(true);
    while let Some(played) = playing.join_next().await {
        played.expect("a bot that sees no wrong reply");
    }
    let lines = RallyLine::read(&log);
    check(&lines, rooms, &drained);
    eprintln!("calm: {}", lateness(&calm));
    eprintln!("all: {}", lateness(&lines));
}

/// Checks that the loops of each room ran one after the other, and that each began where the last one had saved.
fn check(lines: &[RallyLine], rooms: usize, drained: &BTreeSet<u32>) {
    let mut last = BTreeMap::<&str, &RallyLine>::new();
    let (mut moves, mut pauses, mut lost_steps) = (0, Vec::new(), Vec::new());
    for line in lines {
        assert_ne!(line.event, RallyEvent::Disorder, "{line:?}");
        if let Some(before) = last.insert(&line.room, line) {
            assert!(before.fence <= line.fence, "two loops at once: {before:?}, and then {line:?}");
            if before.fence < line.fence {
                assert_eq!(line.event, RallyEvent::Moved, "{line:?}");
                assert!(line.step > 0, "it has lost what was saved: {line:?} after {before:?}");
                if drained.contains(&before.process) {
                    assert_eq!(line.step, before.step, "a drained node hands over everything: {line:?}");
                }
                moves += 1;
                lost_steps.push(before.step.saturating_sub(line.step));
                pauses.push((line.at - before.at) / 1_000_000);
            }
        }
    }
    assert_eq!(last.len(), rooms);
    assert!(moves >= 3, "only {moves} loops have moved");
    pauses.sort_unstable();
    lost_steps.sort_unstable();
    eprintln!("{moves} moves; pauses in ms {pauses:?}; lost steps {lost_steps:?}");
}

/// Returns how late ticks were.
fn lateness(lines: &[RallyLine]) -> String {
    let tick = |line: &RallyLine| match line.event {
        RallyEvent::Tick { late, missed } => Some((late + missed * 20_000, missed)),
        _ => None,
    };
    let ticks: Vec<_> = lines.iter().filter_map(tick).collect();
    let mut late: Vec<_> = ticks.iter().map(|(late, _)| *late).collect();
    late.sort_unstable();
    let missed: u64 = ticks.iter().map(|(_, missed)| missed).sum();
    let at = |percent: usize| late.get(late.len() * percent / 100).copied().unwrap_or_default();
    format!("{} ticks, late by p50 {} us, p99 {} us; {missed} missed", late.len(), at(50), at(99))
}
