//! The actor: a task that owns an arena with its players and its clock. Handlers send it commands.

use std::{collections::BTreeMap, time::Duration};

use kengine::{ConnectionId, Hub, Push, Uid};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::mpsc::{self, error::TryRecvError},
    time::{Instant, MissedTickBehavior, interval_at},
};

/// The length of a step, and the time between two pushes: 20 a second.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// The maximum number of steps that one tick simulates.
const MAX_STEPS: u32 = 5;
/// The side length of the square field.
pub(crate) const FIELD: f32 = 1000.0;
/// The maximum speed of a ship, in units a second.
pub(crate) const SPEED: f32 = 200.0;

/// A command to an arena.
pub(crate) enum Command {
    Joined { player: Uid, connection: ConnectionId },
    Steer { player: Uid, heading: Heading },
    Left { player: Uid, connection: ConnectionId },
}

/// The direction in which a player steers. A length of 1 or more means full speed.
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

/// The position of a player. For a slow client, only the newest position of each player waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Push)]
#[push("position", latest(player))]
pub(crate) struct Position {
    pub(crate) player: Uid,
    /// The step of the arena, with which a client interpolates between two positions.
    pub(crate) step: u64,
    pub(crate) x: f32,
    pub(crate) y: f32,
}

/// Tells the players that their arena has failed, and that they may play again.
#[derive(Debug, Serialize, Deserialize, Push)]
#[push("over")]
pub(crate) struct Over {}

struct Ship {
    /// The newest connection of the player. Only its `Left` removes the ship.
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

    /// Ticks until every seat has been given back, which closes the channel.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut ticks = interval_at(self.next, TICK);
        // After a delay, a single tick fires for all missed ones. `advance` then simulates the missed steps.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            // The number of commands is bounded, so that a stream of new ones cannot delay the tick.
            for _ in 0..commands.max_capacity() {
                match commands.try_recv() {
                    Ok(command) => self.execute(command),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            self.advance();
            self.push();
        }
    }

    fn execute(&mut self, command: Command) {
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

    /// Simulates every step that is due. All steps have the same length, so a game runs the same on a busy machine. A
    /// game that cannot keep up slows down, because catching up would delay it further.
    fn advance(&mut self) {
        let now = Instant::now();
        let mut due = 0;
        while self.next <= now {
            self.next += TICK;
            due += 1;
            if due <= MAX_STEPS {
                self.simulate();
            }
        }
        if due > MAX_STEPS {
            tracing::warn!(room = self.room, skipped = due - MAX_STEPS, "an arena cannot keep up and skips steps");
        }
    }

    /// Simulates one step. The rules of a game go here.
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
        // One write per player for the whole tick.
        self.hub.batch(|| {
            for (player, Ship { at: [x, y], .. }) in &self.ships {
                let position = Position { player: player.clone(), step: self.step, x: *x, y: *y };
                // A position always serializes, so this cannot fail.
                let _ = room.send(&position);
            }
        });
    }
}

impl Drop for Arena {
    /// Notifies the players. An arena that still has players ends only because it panicked or was cancelled.
    fn drop(&mut self) {
        if !self.ships.is_empty() {
            tracing::error!(room = self.room, players = self.ships.len(), "an arena failed while players were in it");
            let _ = self.hub.room(&self.room).send(&Over {});
        }
    }
}
