//! The example `arena_room` on three nodes: its arenas move between nodes that are killed, frozen and drained, while
//! bots fly in them and come back to them.
//!
//! `KENGINE_GAME_LOOP_SECONDS` sets how long 200 bots fly in 23 arenas. Without it, 12 bots fly in 2 arenas until each
//! fault has happened once.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use kengine_tests::{Dice, until};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{connect_async, tungstenite::Message};

use crate::nodes::{Fault, LEASE, Nodes, lateness, playing_time};

/// The seats of an arena, the side length of its field, the speed of a ship in a second, and the time between two
/// steps.
const SEATS: usize = 9;
const FIELD: f32 = 1000.0;
const SPEED: f32 = 200.0;
const TICK: Duration = Duration::from_millis(50);
/// How long before its node was killed an arena may have been saved last: two intervals between saves.
const MAX_LOST: Duration = Duration::from_secs(2);
/// How long the ship of a player who has left waits.
const AWAY: Duration = Duration::from_secs(10);
/// How long a bot waits for the next position before it connects to another node: longer than an arena stands still.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a bot has seen.
#[derive(Clone, Default)]
struct Seen {
    arena: Option<String>,
    /// The last position of the own ship, and when it came.
    last: Option<(Instant, Position)>,
    /// The longest time without a position since this was taken last.
    longest_pause: Duration,
}

#[derive(Clone, Debug, Deserialize)]
struct Position {
    step: u64,
    x: f32,
}

#[derive(Deserialize)]
struct Seated {
    arena: String,
}

#[derive(Deserialize)]
struct Refused {
    code: String,
}

/// What a bot receives.
#[derive(Deserialize)]
#[serde(untagged)]
enum Received {
    Seated { result: Seated },
    Refused { error: Refused },
    Position { message: Position },
}

/// What the bots of a test share.
struct Fleet {
    nodes: Vec<SocketAddr>,
    bots: Vec<Mutex<Seen>>,
}

impl Fleet {
    fn seen(&self) -> impl Iterator<Item = Seen> {
        self.bots.iter().map(|seen| seen.lock().unwrap().clone())
    }

    fn arenas(&self) -> BTreeSet<String> {
        self.seen().filter_map(|seen| seen.arena).collect()
    }

    /// Waits until each bot has seen its ship after the end of a lease that was renewed at this moment.
    async fn fly_on(&self, since: Instant) {
        until("a position of each ship", async || {
            let flies = |seen: Seen| seen.last.is_some_and(|(at, _)| at > since + LEASE);
            self.seen().all(flies).then_some(())
        })
        .await;
    }

    /// Returns the longest time in which a bot has seen no position since the last call.
    fn longest_pause(&self) -> Duration {
        let pauses = self.bots.iter().map(|seen| std::mem::take(&mut seen.lock().unwrap().longest_pause));
        pauses.max().unwrap_or_default()
    }

    /// Flies on one node after another. The bots of an arena come back to different nodes.
    async fn bot(self: Arc<Self>, number: usize, ended: watch::Receiver<bool>) {
        let (mut turn, mut dice) = (number, Dice::new(number as u64));
        while !*ended.borrow() {
            let node = self.nodes[turn % self.nodes.len()];
            let _ = self.fly(node, number, &ended).await;
            turn += 1 + dice.roll(2);
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Flies to the right on a node, until the connection fails.
    async fn fly(&self, node: SocketAddr, number: usize, ended: &watch::Receiver<bool>) -> Option<()> {
        let url = format!("ws://{node}/ws?uid=bot-{number}");
        let (mut socket, _) = timeout(PATIENCE, connect_async(url)).await.ok()?.ok()?;
        let arena = self.bots[number].lock().unwrap().arena.clone();
        let play = json!({ "method": "play", "message": arena, "id": 1 }).to_string();
        socket.send(Message::text(play.clone())).await.ok()?;
        let own = format!(r#""player":"bot-{number}""#);
        let steer = Message::text(json!({ "method": "steer", "message": { "x": 1, "y": 0 } }).to_string());
        while !*ended.borrow() {
            let Message::Text(text) = timeout(PATIENCE, socket.next()).await.ok()??.ok()? else { continue };
            if !text.contains(r#""id":1"#) && !text.contains(&own) {
                continue;
            }
            match serde_json::from_str(&text) {
                Ok(Received::Seated { result: Seated { arena } }) => {
                    let before = self.bots[number].lock().unwrap().arena.replace(arena.clone());
                    assert!(before.is_none_or(|before| before == arena), "bot {number} is in another arena, {arena}");
                    socket.send(steer.clone()).await.ok()?;
                }
                // The node cannot ask the directory yet, or any more.
                Ok(Received::Refused { error }) if error.code == "unavailable" => {
                    sleep(Duration::from_millis(100)).await;
                    socket.send(Message::text(play.clone())).await.ok()?;
                }
                Ok(Received::Refused { error }) => panic!("bot {number} cannot play in {arena:?}: {}", error.code),
                Ok(Received::Position { message }) => {
                    // What is told to a loop arrives at most once, so a pilot steers again and again.
                    if message.x < FIELD && message.step % 20 == 0 {
                        socket.send(steer.clone()).await.ok()?;
                    }
                    self.see(number, message);
                }
                // A push about a player who joins or leaves.
                Err(_) => {}
            }
        }
        Some(())
    }

    /// Checks that the arena plays on with the ship as it was.
    fn see(&self, number: usize, position: Position) {
        let mut seen = self.bots[number].lock().unwrap();
        if let Some((at, last)) = &seen.last {
            let pause = at.elapsed();
            let (ticks, distance) = (MAX_LOST.as_millis() / TICK.as_millis(), SPEED * MAX_LOST.as_secs_f32());
            assert!(
                u128::from(position.step) + ticks >= u128::from(last.step),
                "{last:?} of bot {number} is followed by {position:?}"
            );
            let is_reset = pause < AWAY && last.x >= FIELD && position.x < FIELD - distance;
            assert!(
                !is_reset,
                "the ship of bot {number} has lost its place: {last:?}, and {pause:?} later {position:?}"
            );
            seen.longest_pause = seen.longest_pause.max(pause);
        }
        seen.last = Some((Instant::now(), position));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_arena_of_the_example_has_one_clock_at_every_moment() {
    let time = playing_time();
    let bots = if time.is_some() { 200 } else { 12 };
    let mut nodes = Nodes::start("arena").await;
    let fleet = Arc::new(Fleet { nodes: nodes.addresses(), bots: (0..bots).map(|_| Mutex::default()).collect() });
    let (end, ended) = watch::channel(false);
    let mut flying = JoinSet::new();
    for number in 0..bots {
        flying.spawn(Arc::clone(&fleet).bot(number, ended.clone()));
    }
    until("every ship at the wall", async || {
        fleet.seen().all(|seen| seen.last.is_some_and(|(_, position)| position.x >= FIELD)).then_some(())
    })
    .await;
    let arenas = fleet.arenas();
    assert_eq!(arenas.len(), bots.div_ceil(SEATS), "{arenas:?}");
    nodes.saved(arenas.clone()).await;
    sleep(time.unwrap_or_default() / 4).await;
    let calm = nodes.lines();
    let saw_nothing = || eprintln!("a bot has seen no position for at most {:?}", fleet.longest_pause());
    saw_nothing();
    nodes
        .suffer(time.unwrap_or_default(), async |since| {
            fleet.fly_on(since).await;
            saw_nothing();
        })
        .await;
    end.send_replace(true);
    while let Some(flown) = flying.join_next().await {
        flown.expect("a bot whose ship flies on");
    }
    let lines = nodes.lines();
    let pauses = nodes.check(&lines);
    let logged: BTreeSet<_> = lines.iter().map(|line| line.room.clone()).collect();
    assert_eq!(logged, arenas);
    let longest = pauses[&Fault::Kill].last();
    eprintln!("longest pause after a kill: {longest:?}");
    if time.is_some() {
        // A machine that is busy takes longer to notice the end of the loop's lease, which is nine tenths of this one.
        assert!(longest.is_some_and(|longest| *longest < LEASE * 5 / 4), "an arena stood still for {longest:?}");
    }
    eprintln!("without faults: {}", lateness(&calm, TICK));
    eprintln!("with faults: {}", lateness(&lines, TICK));
}
