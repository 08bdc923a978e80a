//! The game loop of a room: a task that exists once in the cluster.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::handles::hub::Hub;
use crate::handles::loop_kind::kind_of;
use crate::handles::room::Room;
use crate::node_state::{
    CreateLoop, GameLoopError, LoopDriver, LoopFault, LoopLease, LoopSettings, LoopStart, SendError, StartedLoop, Tick,
    Who,
};
use crate::protocol::{Push, Uid, logged};

/// The state of a room, and the rules by which it changes: one task, **once in the cluster**, which ticks, receives
/// messages from the handlers of every node, and sends pushes to the room.
///
/// ```
/// use std::time::Duration;
///
/// use kengine::room::{GameLoop, LoopRoom, Start, Tick};
/// use kengine::{Connection, Error, Hub, Push, Uid};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Push)]
/// struct Score(u32);
///
/// /// The state.
/// struct Rally {
///     hits: u32,
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct Hit {
///     player: Uid,
/// }
///
/// impl GameLoop for Rally {
///     type Message = Hit;
///     type Reply = u32;
///     type Saved = u32;
///     const TICK: Duration = Duration::from_millis(50);
///
///     fn start(_: &LoopRoom<'_>, start: Start<u32>) -> Self {
///         Self { hits: start.saved().unwrap_or(0) }
///     }
///
///     fn tick(&mut self, room: &LoopRoom<'_>, _: Tick) {
///         let _ = room.send(&Score(self.hits));
///     }
///
///     fn message(&mut self, _: &LoopRoom<'_>, hit: Hit) -> u32 {
///         self.hits += 1;
///         self.hits
///     }
///
///     fn save(&self) -> Option<u32> {
///         Some(self.hits)
///     }
/// }
///
/// struct Game;
///
/// #[kengine::dispatcher]
/// impl Game {
///     #[route]
///     async fn play(&self, hub: &Hub, connection: &Connection) -> Result<(), Error> {
///         let room = hub.room("court");
///         room.join(connection).await?;
///         Ok(room.run::<Rally>().await?)
///     }
///
///     #[route]
///     async fn hit(&self, hub: &Hub, connection: &Connection) -> Result<u32, Error> {
///         Ok(hub.room("court").ask::<Rally>(&Hit { player: connection.uid().clone() }).await?)
///     }
/// }
/// ```
///
/// The methods are called one at a time, so the state needs no lock. They are not async: what takes long, such as a
/// query to a database, belongs in a task of its own, which [tells](Room::tell) the loop the result. What a method
/// sends goes out when it returns, in one write per player.
///
/// [`guide::game_loop`](crate::guide::game_loop) explains where a loop runs, when it moves, and what is bounded.
pub trait GameLoop: Sized + Send + 'static {
    /// What handlers tell and ask the loop. It travels as JSON, also on a single node.
    type Message: Serialize + DeserializeOwned;
    /// What the loop answers to a message.
    type Reply: Serialize + DeserializeOwned;
    /// What another node needs to continue the loop. It travels as JSON.
    type Saved: Serialize + DeserializeOwned;

    /// The time between two ticks, at least 1 ms. [`Duration::MAX`] means that the loop never ticks.
    const TICK: Duration;
    /// How long the loop goes on in a room without players, so that they can come back. The default is 30 s. With
    /// [`Duration::ZERO`] it ends when the last player has left.
    const LINGER: Duration = Duration::from_secs(30);
    /// The time between two [`save`](Self::save)s. The default is 1 s, the minimum 100 ms.
    const SAVE_INTERVAL: Duration = Duration::from_secs(1);

    /// Returns the name of this kind of loop in the cluster. A room has a loop of one kind at a time, and a node takes
    /// it over only if it runs the same kind.
    ///
    /// The default is the name of the type with its arguments, all without their paths, such as `Board<Chess>`. So a
    /// type that moves to another module stays the same kind. Set the kind for types that have the same name, and for a
    /// type that is renamed in a [rolling update](crate::guide::deploying). Rust does not promise that two versions of
    /// the compiler give a type the same [name](std::any::type_name), so set it also if nodes of one cluster may be
    /// compiled by different versions.
    fn kind() -> &'static str {
        kind_of(std::any::type_name::<Self>())
    }

    /// Creates the state.
    fn start(room: &LoopRoom<'_>, start: Start<Self::Saved>) -> Self;

    /// Handles a message. The reply is for [`Room::ask`]; [`Room::tell`] ignores it.
    fn message(&mut self, room: &LoopRoom<'_>, message: Self::Message) -> Self::Reply;

    /// Advances the state. Ticks never bunch: after a delay, one tick is called for all that were due.
    fn tick(&mut self, room: &LoopRoom<'_>, tick: Tick) {
        let _ = (room, tick);
    }

    /// A user has joined the room, on any node where the loop [runs](Room::run). It is called before the messages that
    /// this user's handlers send afterwards.
    fn joined(&mut self, room: &LoopRoom<'_>, player: &Uid) {
        let _ = (room, player);
    }

    /// A user has left the room, or the user's node is gone. Of a user who comes back at once, the loop may notice
    /// neither.
    fn left(&mut self, room: &LoopRoom<'_>, player: &Uid) {
        let _ = (room, player);
    }

    /// The last user has left. If nobody joins within [`LINGER`](Self::LINGER), the loop [ends](Self::ended).
    fn emptied(&mut self, room: &LoopRoom<'_>) {
        let _ = room;
    }

    /// The loop is over, because nobody has come back or because it has [ended](LoopRoom::end) itself. This is the last
    /// call, for example to let a task of your own store the result of a match. It is not called when the loop moves or
    /// panics, nor if its node is killed and no player comes back. If the node is killed or Redis is away just after
    /// this call, another node may continue the loop and call this again, with a greater [fencing
    /// number](LoopRoom::fence).
    fn ended(&mut self, room: &LoopRoom<'_>) {
        let _ = room;
    }

    /// Returns what another node needs to continue the loop. It is called every [`SAVE_INTERVAL`](Self::SAVE_INTERVAL),
    /// and before the loop moves because its node drains. By default nothing is saved.
    fn save(&self) -> Option<Self::Saved> {
        None
    }
}

/// Why a game loop starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start<S> {
    /// It is new.
    Created,
    /// It ran before, on another node or until it panicked, and continues with what it last saved, if it saved.
    Moved(Option<S>),
}

impl<S> Start<S> {
    /// Returns what the loop last saved.
    pub fn saved(self) -> Option<S> {
        match self {
            Self::Created => None,
            Self::Moved(saved) => saved,
        }
    }
}

/// The room of a game loop, as the loop sees it.
#[derive(Debug)]
pub struct LoopRoom<'a> {
    room: Room<'a>,
    lease: &'a LoopLease,
}

impl LoopRoom<'_> {
    /// Returns the name.
    pub fn name(&self) -> &str {
        self.room.name()
    }

    /// Returns the hub, for example to tell the loop something later from a task of your own.
    ///
    /// What is sent through it is not checked as in [`send`](Self::send).
    pub fn hub(&self) -> &Hub {
        self.room.hub
    }

    /// Returns the fencing number. It grows whenever the loop starts anew anywhere in the cluster. A database that
    /// refuses writes with a smaller number than the last one takes none of a loop that has already moved.
    pub fn fence(&self) -> u64 {
        self.lease.fence()
    }

    /// Sends a push to the players, like [`Room::send`].
    ///
    /// # Errors
    ///
    /// Those of [`Room::send`]. [`SendError::Unavailable`](crate::push::SendError::Unavailable) also means that this
    /// node's lease has ended, for example because the process stood still; nobody gets the push then.
    pub fn send<P: Push + ?Sized>(&self, push: &P) -> Result<usize, SendError> {
        self.lease.check()?;
        self.room.send(push)
    }

    /// Sends a push to some of the players, like [`Room::only`] and [`Room::send`].
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send).
    pub fn send_to<P: Push + ?Sized>(&self, who: impl Into<Who>, push: &P) -> Result<usize, SendError> {
        self.lease.check()?;
        self.room.clone().only(who).send(push)
    }

    /// Sends a push to all players but some, like [`Room::except`] and [`Room::send`].
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send).
    pub fn send_except<P: Push + ?Sized>(&self, who: impl Into<Who>, push: &P) -> Result<usize, SendError> {
        self.lease.check()?;
        self.room.clone().except(who).send(push)
    }

    /// Ends the loop after the current call, with a call of [`ended`](GameLoop::ended). What it saved is deleted. The
    /// players stay in the room, and [`Room::run`] starts a new loop.
    pub fn end(&self) {
        self.lease.end();
    }
}

impl Hub {
    /// Returns how many [game loops](GameLoop) run on this node.
    pub fn game_loops(&self) -> usize {
        self.node().running_loops()
    }
}

/// The game loop of a room.
impl Room<'_> {
    /// Runs the game loop `L` in this room, once in the cluster. Call it after each join. The first call starts the
    /// loop on its node; a later call makes its own node ready to take the loop over if the other one is killed or
    /// drains, for as long as this node has players in the room. A call after the loop has [ended](LoopRoom::end)
    /// starts a new one; on another node than the loop's, once that node has heard of the end. A room has one loop, and
    /// another [kind](GameLoop::kind) starts only when it is over.
    ///
    /// # Errors
    ///
    /// [`GameLoopError::OtherKind`] if the room has a loop of another kind: one that runs, or one that was saved and
    /// that no node has taken over yet. [`GameLoopError::Unavailable`] if it is not known within 1 s where the loop
    /// runs, because Redis is away. The loop is started when Redis is back, if this node still has a player in the
    /// room. [`GameLoopError::TooMany`] if this node has too many loops.
    pub async fn run<L: GameLoop>(&self) -> Result<(), GameLoopError> {
        let hub = self.hub.clone();
        let node = Arc::downgrade(hub.node());
        let create: CreateLoop = Arc::new(move |name, lease, start| {
            // The task of the loop holds the node while it calls this.
            let hub = Hub::new(node.upgrade()?);
            Some(Driver::<L>::start(hub, name, lease, start))
        });
        let settings =
            LoopSettings { kind: L::kind(), tick: L::TICK, linger: L::LINGER, save_interval: L::SAVE_INTERVAL };
        self.hub.node().run_loop(&self.name, create, settings).await
    }

    /// Sends a message to the room's game loop, on whichever node it runs. It arrives at most once, and the messages of
    /// one sender in order. This never waits.
    ///
    /// # Errors
    ///
    /// The message was not sent: [`GameLoopError::NotRunning`], [`GameLoopError::Busy`], [`GameLoopError::TooLarge`],
    /// [`GameLoopError::Invalid`], [`GameLoopError::OtherKind`], or [`GameLoopError::Unavailable`] if the loop's node
    /// cannot be reached. It is not reported if the loop on another node is of another kind or has a full queue; that
    /// node counts the latter as a refusal of `max_game_loop_queue`.
    pub fn tell<L: GameLoop>(&self, message: &L::Message) -> Result<(), GameLoopError> {
        let message = serde_json::to_vec(message).map_err(GameLoopError::Invalid)?;
        self.hub.node().tell_loop(&self.name, L::kind(), message.into())
    }

    /// Sends a message to the room's game loop, and waits for the reply.
    ///
    /// # Errors
    ///
    /// Those of [`tell`](Self::tell), also from another node; [`GameLoopError::TimedOut`] after 5 s, for example
    /// because the loop's node was killed; and [`GameLoopError::Failed`] if the loop panicked.
    pub async fn ask<L: GameLoop>(&self, message: &L::Message) -> Result<L::Reply, GameLoopError> {
        let message = serde_json::to_vec(message).map_err(GameLoopError::Invalid)?;
        let reply = self.hub.node().ask_loop(&self.name, L::kind(), message.into()).await?;
        serde_json::from_slice(&reply).map_err(GameLoopError::Invalid)
    }
}

/// What is saved: the state, and the players that it knows.
#[derive(Serialize, Deserialize)]
struct SavedLoop<P, S> {
    players: P,
    saved: S,
}

/// Calls a game loop whose type the node does not know.
struct Driver<L> {
    hub: Hub,
    name: Arc<str>,
    lease: Arc<LoopLease>,
    game_loop: L,
}

impl<L: GameLoop> Driver<L> {
    fn start(hub: Hub, name: &Arc<str>, lease: &Arc<LoopLease>, start: LoopStart) -> StartedLoop {
        let (start, players) = match start {
            LoopStart::Created => (Start::Created, Vec::new()),
            LoopStart::Moved(None) => (Start::Moved(None), Vec::new()),
            LoopStart::Moved(Some(bytes)) => match serde_json::from_slice::<SavedLoop<Vec<Uid>, L::Saved>>(&bytes) {
                Ok(SavedLoop { players, saved }) => (Start::Moved(Some(saved)), players),
                Err(error) => {
                    tracing::error!(
                        room = &**name,
                        error = logged(&error),
                        "what a game loop saved does not fit its type: it is ignored"
                    );
                    (Start::Moved(None), Vec::new())
                }
            },
        };
        let room = LoopRoom { room: hub.room(&**name), lease };
        let game_loop = L::start(&room, start);
        let (name, lease) = (Arc::clone(name), Arc::clone(lease));
        (Box::new(Self { hub, name, lease, game_loop }), players)
    }

    fn with_room<T>(&mut self, call: impl FnOnce(&mut L, &LoopRoom<'_>) -> T) -> T {
        let Self { hub, name, lease, game_loop } = self;
        call(game_loop, &LoopRoom { room: hub.room(&**name), lease })
    }
}

impl<L: GameLoop> LoopDriver for Driver<L> {
    fn tick(&mut self, tick: Tick) {
        self.with_room(|game_loop, room| game_loop.tick(room, tick));
    }

    fn message(&mut self, message: &[u8]) -> Result<Bytes, LoopFault> {
        let message = serde_json::from_slice(message).map_err(|error| {
            tracing::debug!(room = &*self.name, error = logged(&error), "a game loop cannot read a message");
            LoopFault::Invalid
        })?;
        let reply = self.with_room(|game_loop, room| game_loop.message(room, message));
        serde_json::to_vec(&reply).map(Bytes::from).map_err(|_| LoopFault::Invalid)
    }

    fn joined(&mut self, player: &Uid) {
        self.with_room(|game_loop, room| game_loop.joined(room, player));
    }

    fn left(&mut self, player: &Uid) {
        self.with_room(|game_loop, room| game_loop.left(room, player));
    }

    fn emptied(&mut self) {
        self.with_room(L::emptied);
    }

    fn ended(&mut self) {
        self.with_room(L::ended);
    }

    fn save(&self, players: &[&Uid]) -> serde_json::Result<Option<Bytes>> {
        let saved = self.game_loop.save();
        saved.map(|saved| serde_json::to_vec(&SavedLoop { players, saved }).map(Bytes::from)).transpose()
    }
}
