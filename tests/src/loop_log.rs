//! The log of game loops, to which the nodes of a test write together.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
    sync::OnceLock,
};

use kengine::room::{LoopRoom, Start, Tick};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The log of this process.
static LOG: OnceLock<File> = OnceLock::new();

/// How many bytes at the end of a log [`LoopLine::read_last`] reads.
const LAST_BYTES: u64 = 64 * 1024;

/// A line of the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoopLine {
    /// When it happened, in nanoseconds of the machine's monotonic clock.
    pub at: u64,
    /// The process of the node.
    pub process: u32,
    /// The room.
    pub room: String,
    /// The fencing number of the loop.
    pub fence: u64,
    /// The number of steps that the loop has simulated on all nodes.
    pub step: u64,
    /// What happened.
    pub event: LoopEvent,
}

/// What a loop did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoopEvent {
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

impl LoopEvent {
    /// Returns the event of a start.
    pub fn start<S>(start: &Start<S>) -> Self {
        if matches!(start, Start::Created) { Self::Created } else { Self::Moved }
    }

    /// Returns the event of a tick.
    pub fn tick(tick: &Tick) -> Self {
        Self::Tick { late: u64::try_from(tick.late.as_micros()).expect("a short time"), missed: tick.missed }
    }
}

impl LoopLine {
    /// Lets the loops of this process append what they do to this file, which several processes may share.
    pub fn log_to(path: impl AsRef<Path>) {
        let log = OpenOptions::new().create(true).append(true).open(path).expect("a file of ours");
        LOG.set(log).expect("the first log");
    }

    /// Returns the line of a call of a loop that begins now, so that it tells when the loop had the lease.
    pub fn new(room: &LoopRoom<'_>, event: LoopEvent) -> Self {
        let (process, room_name) = (std::process::id(), room.name().to_owned());
        Self { at: Self::now(), process, room: room_name, fence: room.fence(), step: 0, event }
    }

    /// Appends the line, with the step after the call, if this process has a log.
    pub fn write(self, step: u64) {
        let Some(mut log) = LOG.get() else { return };
        let line = serde_json::to_string(&Self { step, ..self }).expect("a line") + "\n";
        // One call, so that the lines of several processes do not mix.
        log.write_all(line.as_bytes()).expect("a file of ours");
    }

    /// Returns the time of a line that is written now.
    pub fn now() -> u64 {
        let now = clock_gettime(ClockId::Monotonic);
        u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).expect("a time")
    }

    /// Reads a log, in the order in which things happened.
    pub fn read(path: impl AsRef<Path>) -> Vec<Self> {
        let text = std::fs::read_to_string(path).expect("a file of ours");
        let mut lines: Vec<Self> = text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect();
        lines.sort_by_key(|line| line.at);
        lines
    }

    /// Reads the last lines of a log.
    pub fn read_last(path: impl AsRef<Path>) -> Vec<Self> {
        let mut log = File::open(path).expect("a file of ours");
        let length = log.metadata().expect("a file of ours").len();
        log.seek(SeekFrom::Start(length.saturating_sub(LAST_BYTES))).expect("a file of ours");
        let mut text = String::new();
        log.read_to_string(&mut text).expect("a file of ours");
        // The first line may be incomplete.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}
