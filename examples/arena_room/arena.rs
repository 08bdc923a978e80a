//! The game loop: the state of one arena, and its rules.

use std::{collections::BTreeMap, time::Duration};

use kengine::{
    Push, Uid,
    room::{GameLoop, LoopRoom, Start, Tick},
};
use serde::{Deserialize, Serialize};

/// The most steps that one tick simulates. A game that cannot keep up slows down, because catching up would delay it
/// further.
const MAX_STEPS: u64 = 5;
/// How many steps the ship of a player who has left waits for the player to come back: ten seconds.
pub(crate) const AWAY: u64 = 200;
/// The side length of the square field.
pub(crate) const FIELD: f32 = 1000.0;
/// The maximum speed of a ship, in units a second.
pub(crate) const SPEED: f32 = 200.0;

/// An arena, once in the cluster. If its node goes, another one continues with what was saved.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Arena {
    ships: BTreeMap<Uid, Ship>,
    step: u64,
}

#[derive(Clone, Serialize, Deserialize)]
struct Ship {
    at: [f32; 2],
    velocity: [f32; 2],
    /// The step at which the player left.
    left: Option<u64>,
}

/// A message to the arena: a player steers.
#[derive(Serialize, Deserialize)]
pub(crate) struct Steer {
    pub(crate) player: Uid,
    pub(crate) velocity: [f32; 2],
}

/// The direction in which a player steers. A length of 1 or more means full speed.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Heading {
    pub(crate) x: f32,
    pub(crate) y: f32,
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

impl GameLoop for Arena {
    type Message = Steer;
    type Reply = ();
    type Saved = Self;
    const TICK: Duration = Duration::from_millis(50);

    fn start(_: &LoopRoom<'_>, start: Start<Self>) -> Self {
        start.saved().unwrap_or_default()
    }

    fn joined(&mut self, _: &LoopRoom<'_>, player: &Uid) {
        let new = Ship { at: [FIELD / 2.0; 2], velocity: [0.0; 2], left: None };
        self.ships.entry(player.clone()).or_insert(new).left = None;
    }

    fn left(&mut self, _: &LoopRoom<'_>, player: &Uid) {
        if let Some(ship) = self.ships.get_mut(player) {
            ship.left = Some(self.step);
        }
    }

    fn message(&mut self, _: &LoopRoom<'_>, Steer { player, velocity }: Steer) {
        if let Some(ship) = self.ships.get_mut(&player) {
            ship.velocity = velocity;
        }
    }

    fn tick(&mut self, room: &LoopRoom<'_>, tick: Tick) {
        for _ in 0..(1 + tick.missed).min(MAX_STEPS) {
            self.simulate();
        }
        for (player, ship) in self.ships.iter().filter(|(_, ship)| ship.left.is_none()) {
            let position = Position { player: player.clone(), step: self.step, x: ship.at[0], y: ship.at[1] };
            // Fails while other nodes cannot be reached. The next tick sends newer positions.
            let _ = room.send(&position);
        }
    }

    fn save(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl Arena {
    /// Simulates one step. All steps have the same length, so a game runs the same on a busy machine. The rules of a
    /// game go here.
    fn simulate(&mut self) {
        self.step += 1;
        self.ships.retain(|_, ship| ship.left.is_none_or(|left| self.step <= left + AWAY));
        for ship in self.ships.values_mut() {
            for (at, velocity) in ship.at.iter_mut().zip(ship.velocity) {
                *at = (*at + velocity * Self::TICK.as_secs_f32()).clamp(0.0, FIELD);
            }
        }
    }
}

impl Heading {
    /// Returns the velocity of a ship in this direction. An infinite heading stops it.
    pub(crate) fn velocity(self) -> [f32; 2] {
        let length = self.x.hypot(self.y).max(1.0);
        if length.is_finite() { [self.x, self.y].map(|part| part / length * SPEED) } else { [0.0; 2] }
    }
}
