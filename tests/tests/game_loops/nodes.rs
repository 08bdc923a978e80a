//! Three nodes that are killed, frozen and drained while loops run on them, and what the log of the loops must show.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use kengine_tests::{Folder, LoopEvent, LoopLine, NodeProcess, RedisServer, free_address, until};
use redis::AsyncCommands;
use tokio::time::Instant;

/// The lease of each node.
pub(crate) const LEASE: Duration = Duration::from_secs(2);

/// Returns how long bots play, or `None` in a short test.
pub(crate) fn playing_time() -> Option<Duration> {
    let seconds = env::var("KENGINE_GAME_LOOP_SECONDS").ok()?;
    Some(Duration::from_secs(seconds.parse().expect("a number")))
}

/// What happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// It is killed, and started again.
    Kill,
    /// It stands still for longer than its lease.
    Freeze,
    /// It is drained, and started again.
    Drain,
}

/// When a fault began, as in the log, and in which process.
#[derive(Debug)]
struct Begun {
    at: u64,
    process: u32,
    fault: Fault,
}

/// Three nodes that serve a game, with their Redis and the log of their loops.
pub(crate) struct Nodes {
    game: &'static str,
    redis: RedisServer,
    folder: Folder,
    addresses: [SocketAddr; 3],
    processes: Vec<NodeProcess>,
    faults: Vec<Begun>,
}

impl Nodes {
    /// Starts nodes that serve a game of the program `loop_node`.
    pub(crate) async fn start(game: &'static str) -> Self {
        let addresses = [(); 3].map(|()| free_address());
        let (redis, folder) = (RedisServer::start().await, Folder::new());
        let mut nodes = Self { game, redis, folder, addresses, processes: Vec::new(), faults: Vec::new() };
        for address in addresses {
            let node = nodes.start_node(address).await;
            nodes.processes.push(node);
        }
        nodes
    }

    async fn start_node(&self, address: SocketAddr) -> NodeProcess {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loop_node"));
        command.arg(self.game).env("KENGINE_LOOP_LOG", self.log());
        NodeProcess::start_from(command, address, &self.redis.url(), LEASE).await
    }

    fn log(&self) -> PathBuf {
        self.folder.join("loops.log")
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.to_vec()
    }

    /// Waits until the loop of each of these rooms has saved a step.
    pub(crate) async fn saved(&self, rooms: impl IntoIterator<Item = String>) {
        let mut directory = self.redis.connection().await;
        for room in rooms {
            let key = format!("{{kengine}}:loop:{room}");
            until("a saved loop", async || {
                let saved: Option<String> = directory.hget(&key, "saved").await.expect("a hash");
                saved.is_some_and(|saved| !saved.contains(r#""step":0"#)).then_some(())
            })
            .await;
        }
    }

    /// Returns what the loops have done.
    pub(crate) fn lines(&self) -> Vec<LoopLine> {
        LoopLine::read(self.log())
    }

    /// Returns the node with the most loops.
    fn busiest(&self) -> usize {
        let last: BTreeMap<_, _> =
            LoopLine::read_last(self.log()).into_iter().map(|line| (line.room, line.process)).collect();
        let loops = |node: &NodeProcess| last.values().filter(|process| **process == node.pid()).count();
        (0..self.processes.len()).max_by_key(|node| loops(&self.processes[*node])).unwrap_or_default()
    }

    /// Lets each fault happen to a node with loops, and goes on until this time has passed. After each fault, and when
    /// a frozen node goes on, it waits until the game is played everywhere after a moment.
    pub(crate) async fn suffer(&mut self, time: Duration, plays_on: impl AsyncFn(Instant)) {
        let begun = Instant::now();
        for (round, fault) in [Fault::Kill, Fault::Freeze, Fault::Drain].into_iter().cycle().enumerate() {
            if round >= 3 && begun.elapsed() >= time {
                break;
            }
            self.happens(fault, &plays_on).await;
        }
    }

    async fn happens(&mut self, fault: Fault, plays_on: &impl AsyncFn(Instant)) {
        let node = self.busiest();
        eprintln!("{fault:?}");
        self.faults.push(Begun { at: LoopLine::now(), process: self.processes[node].pid(), fault });
        let since = Instant::now();
        match fault {
            Fault::Kill => {
                self.processes[node].kill();
                plays_on(since).await;
                self.processes[node] = self.start_node(self.addresses[node]).await;
            }
            Fault::Freeze => {
                self.processes[node].freeze();
                plays_on(since).await;
                self.processes[node].thaw();
                plays_on(Instant::now()).await;
            }
            Fault::Drain => {
                self.processes[node].terminate();
                plays_on(since).await;
                let other = self.start_node(free_address()).await;
                std::mem::replace(&mut self.processes[node], other).ended().await;
                self.processes[node] = self.start_node(self.addresses[node]).await;
            }
        }
    }

    /// Checks that the loops of each room ran one after the other, that each began where the last one had saved, and
    /// that each fault moved a loop. Returns how long the loops stood still for each fault, in ascending order.
    pub(crate) fn check(&self, lines: &[LoopLine]) -> BTreeMap<Fault, Vec<Duration>> {
        let mut last = BTreeMap::<&str, &LoopLine>::new();
        let (mut pauses, mut lost_steps) = (BTreeMap::<_, Vec<_>>::new(), Vec::new());
        let mut harmless: BTreeSet<_> = (0..self.faults.len()).collect();
        for line in lines {
            assert_ne!(line.event, LoopEvent::Disorder, "{line:?}");
            let Some(before) = last.insert(&line.room, line) else { continue };
            assert!(before.fence <= line.fence, "two loops at once: {before:?}, and then {line:?}");
            if before.fence == line.fence {
                continue;
            }
            assert_eq!(line.event, LoopEvent::Moved, "{line:?}");
            assert!(line.step > 0, "it has lost what was saved: {line:?} after {before:?}");
            lost_steps.push(before.step.saturating_sub(line.step));
            let of_node = |begun: &Begun| begun.process == before.process && begun.at <= line.at;
            let Some(index) = self.faults.iter().rposition(of_node) else {
                eprintln!("no fault has moved {before:?} to {line:?}");
                continue;
            };
            harmless.remove(&index);
            let fault = self.faults[index].fault;
            if fault == Fault::Drain {
                assert_eq!(line.step, before.step, "a drained node hands over everything: {line:?}");
            }
            pauses.entry(fault).or_default().push(Duration::from_nanos(line.at - before.at));
        }
        for (fault, pauses) in &mut pauses {
            pauses.sort_unstable();
            let [p50, _, max] = spread(pauses);
            eprintln!("{fault:?}: {} loops have moved, after a pause of p50 {p50:?}, max {max:?}", pauses.len());
        }
        lost_steps.sort_unstable();
        let [p50, _, max] = spread(&lost_steps);
        eprintln!("steps that were lost in a move: p50 {p50}, max {max}");
        assert!(harmless.is_empty(), "no loop was moved by {:?}", harmless.iter().map(|index| &self.faults[*index]));
        pauses
    }
}

/// Returns how late ticks were.
pub(crate) fn lateness(lines: &[LoopLine], tick: Duration) -> String {
    let tick = u64::try_from(tick.as_micros()).expect("a short time");
    let late = |line: &LoopLine| match line.event {
        LoopEvent::Tick { late, missed } => Some((late + missed * tick, missed)),
        _ => None,
    };
    let ticks: Vec<_> = lines.iter().filter_map(late).collect();
    let mut late: Vec<_> = ticks.iter().map(|(late, _)| *late).collect();
    late.sort_unstable();
    let missed: u64 = ticks.iter().map(|(_, missed)| missed).sum();
    let [p50, p99, max] = spread(&late);
    format!("{} ticks, late by p50 {p50} us, p99 {p99} us, max {max} us; {missed} missed", late.len())
}

/// Returns the 50th and the 99th percentile and the maximum of sorted values.
fn spread<T: Copy + Default>(sorted: &[T]) -> [T; 3] {
    let at = |percent: usize| sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default();
    [at(50), at(99), sorted.last().copied().unwrap_or_default()]
}
