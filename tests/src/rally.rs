//! A game whose rooms have game loops, and the log of what these loops do.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    sync::OnceLock,
    time::Duration,
};

use kengine::{
    Connection, Error, Handshake, Hub, Push, Refusal, Uid,
    room::{GameLoop, LoopRoom, Start, Tick},
};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::town::Player;

/// The log of this process.
static LOG: OnceLock<File> = OnceLock::new();

/// A dispatcher whose players hit balls. Each room runs a [`RallyLoop`].
#[derive(Clone, Copy, Debug)]
pub struct Rally;

impl Rally {
    /// Lets the loops of this process append what they do to this file, which several processes may share.
    pub fn log_to(path: impl AsRef<Path>) {
        let log = OpenOptions::new().create(true).append(true).open(path).expect("a file of ours");
        LOG.set(log).expect("the first log");
    }
}

/// A line of the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RallyLine {
    /// When it happened, in nanoseconds of the machine's monotonic clock.
    pub at: u64,
    /// The process of the node.
    pub process: u32,
    /// The room.
    pub room: String,
    /// The fencing number of the loop.
    pub fence: u64,
    /// The number of ticks that the loop has simulated on all nodes.
    pub step: u64,
    /// What happened.
    pub event: RallyEvent,
}

/// What a loop did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RallyEvent {
    /// It started as a new one.
    Created,
    /// It started with what another one had saved.
    Moved,
    /// It ticked.
    Tick {
        /// How late, in microseconds.
        late: u64,
        /// How many ticks were missed before.
        missed: u64,
    },
    /// A player's messages came in the wrong order.
    Disorder,
    /// Its last player has left.
    Emptied,
}

impl RallyLine {
    /// Reads a log.
    pub fn read(path: impl AsRef<Path>) -> Vec<Self> {
        let text = std::fs::read_to_string(path).expect("a file of ours");
        let mut lines: Vec<Self> = text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect();
        lines.sort_by_key(|line| line.at);
        lines
    }
}

/// A player's message to the loop.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hit {
    player: Uid,
    /// Grows with each message of the player.
    number: u64,
}

/// What the loop replies.
#[derive(Debug, Serialize, Deserialize)]
pub struct Return {
    /// The fencing number of the loop.
    pub fence: u64,
    /// The number of ticks that the loop has simulated on all nodes.
    pub step: u64,
    /// The number of the message.
    pub number: u64,
}

/// The push of each tick.
#[derive(Debug, Serialize, Deserialize, Push)]
#[push("ball", latest)]
pub struct Ball {
    step: u64,
}

/// The loop of a room.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RallyLoop {
    step: u64,
    /// The number of each player's last message.
    last: BTreeMap<Uid, u64>,
}

impl RallyLoop {
    fn log(&self, room: &LoopRoom<'_>, event: RallyEvent) {
        let Some(mut log) = LOG.get() else { return };
        let now = clock_gettime(ClockId::Monotonic);
        let at = u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).expect("a time");
        let (process, room_name) = (std::process::id(), room.name().to_owned());
        let line = RallyLine { at, process, room: room_name, fence: room.fence(), step: self.step, event };
        let line = serde_json::to_string(&line).expect("a line") + "\n";
        // One call, so that the lines of several processes do not mix.
        log.write_all(line.as_bytes()).expect("a file of ours");
    }
}

impl GameLoop for RallyLoop {
    type Message = Hit;
    type Reply = Return;
    type Saved = Self;
    const TICK: Duration = Duration::from_millis(20);
    const LINGER: Duration = Duration::from_secs(10);
    const SAVE_INTERVAL: Duration = Duration::from_millis(200);

    fn start(room: &LoopRoom<'_>, start: Start<Self>) -> Self {
        let event = if start == Start::Created { RallyEvent::Created } else { RallyEvent::Moved };
        let rally = start.saved().unwrap_or_default();
        rally.log(room, event);
        rally
    }

    fn tick(&mut self, room: &LoopRoom<'_>, tick: Tick) {
        self.step += 1;
        self.log(
            room,
            RallyEvent::Tick { late: u64::try_from(tick.late.as_micros()).expect("a short time"), missed: tick.missed },
        );
        let _ = room.send(&Ball { step: self.step });
    }

    fn message(&mut self, room: &LoopRoom<'_>, Hit { player, number }: Hit) -> Return {
        let last = self.last.insert(player, number);
        if last.is_some_and(|last| last >= number) {
            self.log(room, RallyEvent::Disorder);
        }
        Return { fence: room.fence(), step: self.step, number }
    }

    fn emptied(&mut self, room: &LoopRoom<'_>) {
        self.log(room, RallyEvent::Emptied);
    }

    fn save(&self) -> Option<Self> {
        Some(self.clone())
    }
}

#[kengine::dispatcher]
impl Rally {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Player, Refusal> {
        Player::of(handshake)
    }

    /// Joins a room, and lets its loop run.
    #[route]
    async fn play(&self, hub: &Hub, connection: &Connection<Player>, room: String) -> Result<(), Error> {
        let room = hub.room(room);
        room.join(connection).await?;
        Ok(room.run::<RallyLoop>().await?)
    }

    #[route]
    async fn leave(&self, hub: &Hub, connection: &Connection<Player>, room: String) -> bool {
        hub.room(room).leave(connection)
    }

    /// Asks the loop.
    #[route]
    async fn hit(
        &self,
        hub: &Hub,
        connection: &Connection<Player>,
        (room, number): (String, u64),
    ) -> Result<Return, Error> {
        let hit = Hit { player: connection.uid().clone(), number };
        Ok(hub.room(room).ask::<RallyLoop>(&hit).await?)
    }

    /// Tells the loop.
    #[route]
    async fn tap(
        &self,
        hub: &Hub,
        connection: &Connection<Player>,
        (room, number): (String, u64),
    ) -> Result<(), Error> {
        let hit = Hit { player: connection.uid().clone(), number };
        Ok(hub.room(room).tell::<RallyLoop>(&hit)?)
    }

    /// Returns how many loops run on the player's node.
    #[route]
    async fn loops(&self, hub: &Hub) -> usize {
        hub.game_loops()
    }
}
