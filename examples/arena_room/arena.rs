//! The actor: one task owns an arena, its players and its clock; everybody else sends it commands.

use std::{collections::BTreeMap, time::Duration};

use kengine::{ConnectionId, Hub, Push, Uid};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::mpsc::{self, error::TryRecvError},
    time::{Instant, MissedTickBehavior, interval_at},
};

/// The time of one step, and from one push to the next: 20 a second.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// The most steps that one tick makes up for.
const MOST_STEPS: u32 = 5;
/// The side of the square that is played on.
pub(crate) const FIELD: f32 = 1000.0;
/// The fastest that a ship flies, in units a second.
pub(crate) const SPEED: f32 = 200.0;

/// What an arena can be told.
pub(crate) enum Command {
    Joined { player: Uid, connection: ConnectionId },
    Steer { player: Uid, heading: Heading },
    Left { player: Uid, connection: ConnectionId },
}

/// Where a player wants to go: full speed at a length of 1, and beyond.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Heading {
    pub(crate) x: f32,
    pub(crate) y: f32,
}

impl Heading {
    fn velocity(self) -> [f32; 2] {
        let length = self.x.hypot(self.y).max(1.0);
        if length.is_finite() { [self.x, self.y].map(|part| part / length * SPEED) } else { [0.0; 2] }
    }
}

/// Where a player is. Of a reader that is behind, the newest of each player waits, and none that is older.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Push)]
#[push("position", latest(player))]
pub(crate) struct Position {
    pub(crate) player: Uid,
    /// Which step of the arena this is: a client draws what is between two of them.
    pub(crate) step: u64,
    pub(crate) x: f32,
    pub(crate) y: f32,
}

/// The arena has ended under its players: they may play again.
#[derive(Debug, Serialize, Deserialize, Push)]
#[push("over")]
pub(crate) struct Over {}

struct Ship {
    /// Of two connections of a player the later one flies it.
    connection: ConnectionId,
    at: [f32; 2],
    velocity: [f32; 2],
}

pub(crate) struct Arena {
    hub: Hub,
    room: String,
    ships: BTreeMap<Uid, Ship>,
    step: u64,
    /// When the next step is due.
    next: Instant,
}

impl Arena {
    pub(crate) fn new(hub: Hub, room: String) -> Self {
        Self { hub, room, ships: BTreeMap::new(), step: 0, next: Instant::now() + TICK }
    }

    /// Ticks until every seat has been given back, when nobody is left who could send a command.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut ticks = interval_at(self.next, TICK);
        // After a pause one tick comes, not all that were missed: `advance` makes up for them, with one push.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            // No more than have waited, however fast others come.
            for _ in 0..commands.max_capacity() {
                match commands.try_recv() {
                    Ok(command) => self.obey(command),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            self.advance();
            self.push();
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Joined { player, connection } => {
                let ship = || Ship { connection, at: [FIELD / 2.0; 2], velocity: [0.0; 2] };
                self.ships.entry(player).or_insert_with(ship).connection = connection;
            }
            Command::Steer { player, heading } => {
                if let Some(ship) = self.ships.get_mut(&player) {
                    ship.velocity = heading.velocity();
                }
            }
            Command::Left { player, connection } => {
                if self.ships.get(&player).is_some_and(|ship| ship.connection == connection) {
                    self.ships.remove(&player);
                }
            }
        }
    }

    /// Makes every step that is due. All are of one length, so that a game goes the same way on a busy machine; one
    /// that cannot keep up gets slower, instead of falling behind by what it does to catch up.
    fn advance(&mut self) {
        let now = Instant::now();
        let mut due = 0;
        while self.next <= now {
            self.next += TICK;
            due += 1;
            if due <= MOST_STEPS {
                self.simulate();
            }
        }
        if due > MOST_STEPS {
            tracing::warn!(room = self.room, left_out = due - MOST_STEPS, "an arena is behind its clock");
        }
    }

    /// One step: here a game has its rules.
    fn simulate(&mut self) {
        self.step += 1;
        for ship in self.ships.values_mut() {
            for (at, velocity) in ship.at.iter_mut().zip(ship.velocity) {
                *at = (*at + velocity * TICK.as_secs_f32()).clamp(0.0, FIELD);
            }
        }
    }

    fn push(&self) {
        let room = self.hub.room(&self.room);
        // All of a tick in one write to each player.
        self.hub.batch(|| {
            for (player, Ship { at: [x, y], .. }) in &self.ships {
                let position = Position { player: player.clone(), step: self.step, x: *x, y: *y };
                // Fails only for what is no JSON.
                let _ = room.send(&position);
            }
        });
    }
}

impl Drop for Arena {
    /// An arena ends when its last player has left; it ends earlier by a panic, or cut off, and then says so.
    fn drop(&mut self) {
        if !self.ships.is_empty() {
            tracing::error!(room = self.room, players = self.ships.len(), "an arena ended under its players");
            let _ = self.hub.room(&self.room).send(&Over {});
        }
    }
}
