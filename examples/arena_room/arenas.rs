//! Owns the tasks of the arenas: starts one for each room with players, hands out seats, and waits for the tasks to
//! end.

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

/// The maximum number of players in an arena.
pub(crate) const SEATS: usize = 9;
/// The maximum number of commands that wait for an arena's next tick, including the reserved `Left` of each player.
/// Nine players at the full rate of `steer` send 27 commands per tick. Bursts that do not fit are answered with
/// `arena_busy`.
const QUEUE: usize = 128;

/// All arenas of this node. Dropping it cancels those that still run.
#[derive(Debug, Default)]
pub(crate) struct Arenas {
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    tasks: JoinSet<()>,
    /// The channels of the arenas, by room. They are weak, so that only seats keep an arena running.
    channels: HashMap<String, WeakSender<Command>>,
}

impl Arenas {
    /// Takes a seat for a player in the arena of a room. The first player of a room starts the arena.
    ///
    /// A player who leaves gives the seat back before leaving the room. A player whose connection ends has left the
    /// room already. If the last seat is given back first and another player joins the room in between, that player
    /// starts a new arena. The old arena cannot be entered any more, and ends at its next tick without a push.
    ///
    /// # Errors
    ///
    /// `arena_over` if the arena fails at the same moment.
    pub(crate) async fn enter<S: Session>(&self, room: &Room<'_>, connection: &Connection<S>) -> Result<Seat, Error> {
        const { assert!(SEATS < QUEUE, "the reserved slots leave space for other commands") };
        let commands = self.channel(connection.hub(), room.name());
        let reserved = commands.clone().reserve_owned().await.map_err(|_| over())?;
        let (player, connection) = (connection.uid().clone(), connection.id());
        // The seat exists before `Joined` is sent. If this future is dropped while it waits, the seat sends `Left`.
        let seat = Seat { player: player.clone(), connection, commands, reserved: Some(reserved) };
        seat.commands.send(Command::Joined { player, connection }).await.map_err(|_| over())?;
        Ok(seat)
    }

    /// Returns the number of running arenas.
    pub(crate) fn running(&self) -> usize {
        let mut running = self.lock();
        running.forget_ended();
        running.tasks.len()
    }

    /// Waits until no arena is running.
    pub(crate) async fn ended(&self) {
        // The lock is held only during a poll, never while waiting.
        poll_fn(|cx| {
            let mut running = self.lock();
            while ready!(running.tasks.poll_join_next(cx)).is_some() {}
            Poll::Ready(())
        })
        .await;
    }

    /// Returns the channel of a room's arena, and starts the arena if there is none. The lock ensures that only one of
    /// several first players starts it.
    fn channel(&self, hub: &Hub, room: &str) -> Sender<Command> {
        let mut running = self.lock();
        let known = running.channels.get(room).and_then(WeakSender::upgrade);
        if let Some(commands) = known.filter(|commands| !commands.is_closed()) {
            return commands;
        }
        running.forget_ended();
        let (commands, queue) = mpsc::channel(QUEUE);
        running.channels.insert(room.to_owned(), commands.downgrade());
        running.tasks.spawn(Arena::new(hub.clone(), room.to_owned()).run(queue));
        commands
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        // No code panics in the middle of a change while it holds the lock, so a poisoned state is still valid.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn forget_ended(&mut self) {
        // An arena that panicked has already logged an error.
        while self.tasks.try_join_next().is_some() {}
        self.channels.retain(|_, channel| channel.strong_count() > 0);
    }
}

/// A player's seat in an arena. Dropping it gives it back.
pub(crate) struct Seat {
    player: Uid,
    connection: ConnectionId,
    commands: Sender<Command>,
    /// A reserved slot in the channel for `Left`, so that it neither waits nor gets lost.
    reserved: Option<OwnedPermit<Command>>,
}

impl Seat {
    /// Whether the arena is still running.
    pub(crate) fn is_open(&self) -> bool {
        !self.commands.is_closed()
    }

    /// Changes the direction of the player's ship.
    ///
    /// # Errors
    ///
    /// `arena_busy` if the channel is full, `arena_over` if the arena has ended.
    pub(crate) fn steer(&self, heading: Heading) -> Result<(), Error> {
        let steer = Command::Steer { player: self.player.clone(), heading };
        self.commands.try_send(steer).map_err(|failure| match failure {
            TrySendError::Full(_) => Error::new("arena_busy", "the arena is busy; steer again in a moment"),
            TrySendError::Closed(_) => over(),
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(reserved) = self.reserved.take() {
            reserved.send(Command::Left { player: self.player.clone(), connection: self.connection });
        }
    }
}

fn over() -> Error {
    Error::new("arena_over", "the arena has ended; play again")
}
