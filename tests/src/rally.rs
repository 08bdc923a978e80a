//! A game whose rooms have game loops, which log what they do.

use std::{collections::BTreeMap, time::Duration};

use kengine::{
    Connection, Error, Handshake, Hub, Push, Refusal, Uid,
    room::{GameLoop, LoopRoom, Start, Tick},
};
use serde::{Deserialize, Serialize};

use crate::{
    loop_log::{LoopEvent, LoopLine},
    town::Player,
};

/// A dispatcher whose players hit balls. Each room runs a [`RallyLoop`].
#[derive(Clone, Copy, Debug)]
pub struct Rally;

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
    fn log(&self, room: &LoopRoom<'_>, event: LoopEvent) {
        LoopLine::new(room, event).write(self.step);
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
        let event = LoopEvent::start(&start);
        let rally = start.saved().unwrap_or_default();
        rally.log(room, event);
        rally
    }

    fn tick(&mut self, room: &LoopRoom<'_>, tick: Tick) {
        self.step += 1;
        self.log(room, LoopEvent::tick(&tick));
        let _ = room.send(&Ball { step: self.step });
    }

    fn message(&mut self, room: &LoopRoom<'_>, Hit { player, number }: Hit) -> Return {
        let last = self.last.insert(player, number);
        if last.is_some_and(|last| last >= number) {
            self.log(room, LoopEvent::Disorder);
        }
        Return { fence: room.fence(), step: self.step, number }
    }

    fn emptied(&mut self, room: &LoopRoom<'_>) {
        self.log(room, LoopEvent::Emptied);
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
