//! The owner of the arenas' tasks: it starts one for each room that has a player, hands out seats, and awaits them all.

use std::{
    collections::HashMap,
    future::poll_fn,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Poll, ready},
};

use kengine::{Connection, ConnectionId, Error, Hub, Session, Uid, room::Room};
use tokio::{
    sync::mpsc::{self, OwnedPermit, Sender, WeakSender, error::TrySendError},
    task::JoinSet,
};

use crate::arena::{Arena, Command, Heading};

/// The most players of an arena.
pub(crate) const SEATS: usize = 9;
/// The most commands that wait for an arena's next tick, the farewells of its players among them. All nine steering
/// steadily, as fast as they may, send 27 from one tick to the next; a burst of several may be more than there is room
/// for, and is answered with `arena_busy`.
const QUEUE: usize = 128;

/// All arenas of this node. Dropped, it cuts off those that still run.
#[derive(Debug, Default)]
pub(crate) struct Arenas {
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    tasks: JoinSet<()>,
    /// By the name of the room. Only seats keep an arena running: with the last of them this way to it is gone.
    ways: HashMap<String, WeakSender<Command>>,
}

impl Arenas {
    /// Takes a seat for a player in the arena of a room; the first of a room starts it.
    ///
    /// A player gives the seat back, then leaves the room. Whoever comes into the room between the two, when that seat
    /// was the last, starts a new arena: the old one takes nobody any more, and ends at its next tick without another
    /// push.
    ///
    /// # Errors
    ///
    /// `arena_over` when the arena fails at this moment.
    pub(crate) async fn enter<S: Session>(
        &self,
        room: &Room<'_>,
        connection: &Connection<S>,
    ) -> Result<Seat, Error> {
        const { assert!(SEATS < QUEUE, "the farewells of all leave room for other commands") };
        let commands = self.way_to(connection.hub(), room.name());
        let farewell = commands.clone().reserve_owned().await.map_err(|_| over())?;
        let (player, connection) = (connection.uid().clone(), connection.id());
        // A seat before it is told of: dropped while it waits, it leaves nobody behind.
        let seat = Seat { player: player.clone(), connection, commands, farewell: Some(farewell) };
        seat.commands.send(Command::Joined { player, connection }).await.map_err(|_| over())?;
        Ok(seat)
    }

    /// How many run.
    pub(crate) fn running(&self) -> usize {
        let mut running = self.lock();
        running.forget_ended();
        running.tasks.len()
    }

    /// Waits until none runs.
    pub(crate) async fn ended(&self) {
        // Locked for one look at a time, never while it waits.
        poll_fn(|cx| {
            let mut running = self.lock();
            while ready!(running.tasks.poll_join_next(cx)).is_some() {}
            Poll::Ready(())
        })
        .await;
    }

    /// The way to a room's arena, which is started if there is none. Under one lock, so that of several first players
    /// one starts it.
    fn way_to(&self, hub: &Hub, room: &str) -> Sender<Command> {
        let mut running = self.lock();
        let known = running.ways.get(room).and_then(WeakSender::upgrade);
        if let Some(commands) = known.filter(|commands| !commands.is_closed()) {
            return commands;
        }
        running.forget_ended();
        let (commands, queue) = mpsc::channel(QUEUE);
        running.ways.insert(room.to_owned(), commands.downgrade());
        running.tasks.spawn(Arena::new(hub.clone(), room.to_owned()).run(queue));
        commands
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        // Nothing between lock and unlock can panic half-way through a change.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn forget_ended(&mut self) {
        // One that has panicked has said so itself.
        while self.tasks.try_join_next().is_some() {}
        self.ways.retain(|_, way| way.strong_count() > 0);
    }
}

/// A player's place in an arena, given back when dropped.
pub(crate) struct Seat {
    player: Uid,
    connection: ConnectionId,
    commands: Sender<Command>,
    /// A place in the queue, kept for the last command: it needs not wait, and cannot be lost.
    farewell: Option<OwnedPermit<Command>>,
}

impl Seat {
    /// Whether its arena runs.
    pub(crate) fn is_open(&self) -> bool {
        !self.commands.is_closed()
    }

    /// Tells the arena where the player wants to go.
    ///
    /// # Errors
    ///
    /// `arena_busy` when as many commands wait as may, `arena_over` when the arena has ended.
    pub(crate) fn steer(&self, heading: Heading) -> Result<(), Error> {
        let steer = Command::Steer { player: self.player.clone(), heading };
        self.commands.try_send(steer).map_err(|failure| match failure {
            TrySendError::Full(_) => Error::new("arena_busy", "the arena is behind; steer again in a moment"),
            TrySendError::Closed(_) => over(),
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(farewell) = self.farewell.take() {
            farewell.send(Command::Left { player: self.player.clone(), connection: self.connection });
        }
    }
}

fn over() -> Error {
    Error::new("arena_over", "the arena has ended; play again")
}
