//! Honest players beside hostile clients: they chat in rooms, and check everything that they receive.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use kengine_tests::{ClientFrame, RawClient, ServerFrame, Upgrade, within};
use serde::Deserialize;
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

/// The number of players, whom the default limits of an address allow at once.
pub(crate) const PLAYERS: usize = 20;
/// The players of a room.
const MEMBERS: usize = 10;
/// The pause between two messages of a player: ten messages a second, of the hundred that the default limits allow.
const PAUSE: Duration = Duration::from_millis(100);

/// Players who chat until they are stopped.
pub(crate) struct Players {
    playing: Vec<JoinHandle<Player>>,
    stop: Arc<AtomicBool>,
    phase: Arc<AtomicUsize>,
}

/// One player.
struct Player {
    client: RawClient,
    number: usize,
    /// How many messages it has sent.
    said: usize,
    /// When it sent the message that is not answered yet.
    asked: Option<Instant>,
    /// How many messages of each other player it has received.
    heard: BTreeMap<usize, usize>,
    /// Whether the players of its room are on several nodes, which Redis may keep apart for a moment.
    in_cluster: bool,
    /// How many of its messages did not reach other nodes.
    unavailable: usize,
    /// How many times a message of another player was missing.
    gaps: usize,
    /// For each answer, the phase in which it came, and how long it took.
    latencies: Vec<(usize, Duration)>,
}

impl Players {
    /// Connects players who join their rooms and begin to chat.
    pub(crate) async fn start(server: SocketAddr) -> Self {
        Self::start_on(&[server]).await
    }

    /// Connects players to these nodes in turn, so that the players of a room are on each of them.
    pub(crate) async fn start_on(nodes: &[SocketAddr]) -> Self {
        let mut players = Vec::new();
        for number in 0..PLAYERS {
            let server = nodes[number % nodes.len()];
            let client = Upgrade::new(server).path(format!("/ws?uid=honest-{number}")).open(server).await;
            let (heard, latencies) = (BTreeMap::new(), Vec::new());
            let in_cluster = nodes.len() > 1;
            let (said, asked, unavailable, gaps) = (0, None, 0, 0);
            let mut player = Player { client, number, said, asked, heard, in_cluster, unavailable, gaps, latencies };
            let join = format!(r#"{{"method":"join","message":"{}","id":"join"}}"#, player.room());
            assert_eq!(player.client.ask(join).await, r#""join": null"#);
            players.push(player);
        }
        let (stop, phase) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let play = |player: Player| tokio::spawn(player.play(Arc::clone(&stop), Arc::clone(&phase)));
        Self { playing: players.into_iter().map(play).collect(), stop, phase }
    }

    /// Begins another phase, whose latencies are measured on their own.
    pub(crate) fn begin_phase(&self, phase: usize) {
        self.phase.store(phase, Ordering::SeqCst);
    }

    /// Stops the players. Each must still be connected, and must have received every answer and every message of the
    /// others in its room exactly once and in order. Returns the latencies of each phase, one for each message.
    pub(crate) async fn passed(self) -> Latencies {
        self.passed_unless(false).await
    }

    /// Like [`Players::passed`]. If the nodes could not reach each other for a moment, the players may have missed
    /// messages of others, but none came twice.
    pub(crate) async fn passed_unless(self, unavailable: bool) -> Latencies {
        self.stop.store(true, Ordering::SeqCst);
        let mut players = Vec::new();
        for playing in self.playing {
            players.push(within("an honest player", playing).await.expect("an honest player who is served"));
        }
        let said: Vec<_> = players.iter().map(|player| player.said).collect();
        let mut latencies = Latencies::default();
        let unavailable = unavailable || players.iter().any(|player| player.unavailable > 0);
        for player in &mut players {
            for (other, said) in said.iter().enumerate() {
                while !unavailable && player.is_with(other) && player.heard.get(&other).copied().unwrap_or(0) < *said {
                    player.read().await;
                }
            }
            if !unavailable {
                // Nothing more has come.
                player.client.heartbeat().await;
                assert_eq!(player.gaps, 0, "missing messages");
            }
            for (phase, latency) in player.latencies.drain(..) {
                latencies.0.entry(phase).or_default().push(latency);
            }
        }
        latencies
    }
}

impl Player {
    fn room(&self) -> String {
        format!("honest {}", self.number / MEMBERS)
    }

    fn is_with(&self, other: usize) -> bool {
        other != self.number && other / MEMBERS == self.number / MEMBERS
    }

    async fn play(mut self, stop: Arc<AtomicBool>, phase: Arc<AtomicUsize>) -> Self {
        let mut turns = interval(PAUSE);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.load(Ordering::SeqCst) {
            tokio::select! {
                _ = turns.tick(), if self.asked.is_none() => self.say().await,
                frame = self.client.next() => {
                    self.receive(frame.expect("a player who stays connected"), phase.load(Ordering::SeqCst)).await;
                }
            }
        }
        while self.asked.is_some() {
            let frame = self.client.next().await.expect("a player who stays connected");
            self.receive(frame, phase.load(Ordering::SeqCst)).await;
        }
        self
    }

    async fn say(&mut self) {
        let (said, number, room) = (self.said, self.number, self.room());
        let text = format!(r#"{{"method":"say","message":["{room}","{number} {said}"],"id":{said}}}"#);
        self.asked = Some(Instant::now());
        self.client.send_frames([ClientFrame::text(text)]).await;
        self.said += 1;
    }

    async fn read(&mut self) {
        let frame = self.client.next().await.expect("a player who stays connected");
        self.receive(frame, usize::MAX).await;
    }

    async fn receive(&mut self, frame: ServerFrame, phase: usize) {
        #[derive(Deserialize)]
        struct Said {
            message: String,
        }
        let shown = frame.to_string();
        if shown == "ping \"\"" {
            self.client.send_frames([ClientFrame::pong("")]).await;
        } else if let Ok(Said { message }) = serde_json::from_slice(&frame.payload) {
            let (other, number) = message.split_once(' ').expect("a player and a number");
            let (other, number): (usize, usize) = (other.parse().expect("a player"), number.parse().expect("a number"));
            let heard = self.heard.entry(other).or_default();
            assert!(
                number == *heard || self.in_cluster && number > *heard,
                "{number} of player {other}: {heard} is next"
            );
            self.gaps += usize::from(number > *heard);
            *heard = number + 1;
        } else {
            let asked = self.asked.take().unwrap_or_else(|| panic!("{shown}, but nothing was asked"));
            let id = self.said - 1;
            if self.in_cluster && shown == format!("{id}: error unavailable") {
                self.unavailable += 1;
            } else {
                assert_eq!(shown, format!("{id}: null"));
            }
            self.latencies.push((phase, asked.elapsed()));
        }
    }
}

/// The latencies of each phase.
#[derive(Default)]
pub(crate) struct Latencies(BTreeMap<usize, Vec<Duration>>);

impl Latencies {
    /// Returns the median and the 99th percentile of the latencies in each of these phases, and of both the median over
    /// the phases, so that a disturbance of the machine in one phase does not count; also the number of latencies. On a
    /// machine that is too slow there may be none; then all are 0.
    pub(crate) fn of(&self, phases: impl Fn(usize) -> bool) -> (Duration, Duration, usize) {
        let phases = || self.0.iter().filter(|(phase, _)| phases(**phase)).map(|(_, latencies)| latencies);
        let over_phases = |percent| percentile(phases().map(|latencies| percentile(latencies.clone(), percent)), 50);
        (over_phases(50), over_phases(99), phases().map(Vec::len).sum())
    }
}

/// Returns a percentile; 0 if there are no values.
fn percentile(values: impl IntoIterator<Item = Duration>, percent: usize) -> Duration {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort();
    values.get(values.len() * percent / 100).copied().unwrap_or_default()
}
