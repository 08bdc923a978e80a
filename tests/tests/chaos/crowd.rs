//! All players: what they are to do, what each knows about itself, and what was wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kengine_tests::{Dice, within};
use tokio::{sync::watch, task::JoinSet, time::Instant};

use crate::players::Player;

/// The number of players.
pub(crate) const PLAYERS: usize = 90;
/// The number of rooms.
pub(crate) const ROOMS: usize = 12;

/// What players do at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They come, go, join, leave and chat.
    Play,
    /// They stay where they are, and come back if they are cut off.
    Stay,
    /// They stay, and each says this number once in each of its rooms.
    Probe(u32),
    /// They go away.
    Go,
}

/// What a player knows about itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The process that serves it; `None` while it is not connected.
    pub(crate) process: Option<u32>,
    /// The rooms that it is in.
    pub(crate) rooms: BTreeSet<usize>,
    /// How many requests and heartbeats of its connection are not answered yet.
    pub(crate) unanswered: usize,
    /// The first request or heartbeat that is not answered yet, with its connection, in words.
    pub(crate) awaits: Option<String>,
    /// When it last did something.
    pub(crate) active: Option<Instant>,
    /// How many older connections of it have not ended.
    pub(crate) older: usize,
    /// How many of its connections, and attempts to connect, were ended by the other side or had no answer.
    pub(crate) cuts: usize,
    /// The probes that it has heard: the number, the player who said it, and the room.
    pub(crate) heard: BTreeSet<(u32, usize, usize)>,
}

impl Known {
    /// Records that the player is not connected.
    pub(crate) fn is_away(&mut self) {
        (self.process, self.unanswered, self.awaits) = (None, 0, None);
        self.rooms.clear();
    }
}

/// All players.
#[derive(Debug)]
pub(crate) struct Crowd {
    /// The address that players connect to.
    pub(crate) front: SocketAddr,
    pub(crate) mode: watch::Sender<Mode>,
    known: Vec<Mutex<Known>>,
    wrong: Mutex<Vec<String>>,
    /// How often something happened.
    counts: Mutex<BTreeMap<String, usize>>,
    begun: Instant,
}

impl Crowd {
    /// Lets all players connect to this address, in front of the gateway.
    pub(crate) fn start(front: SocketAddr, seed: u64) -> (Arc<Self>, JoinSet<()>) {
        let crowd = Arc::new(Self {
            front,
            mode: watch::Sender::new(Mode::Play),
            known: (0..PLAYERS).map(|_| Mutex::default()).collect(),
            wrong: Mutex::default(),
            counts: Mutex::default(),
            begun: Instant::now(),
        });
        let mut players = JoinSet::new();
        for number in 0..PLAYERS {
            let dice = Dice::new(seed.wrapping_add(1 + number as u64));
            players.spawn(Player::new(number, dice, Arc::clone(&crowd)).play());
        }
        (crowd, players)
    }

    /// Sends all players away, and waits until they are gone.
    pub(crate) async fn go(&self, mut players: JoinSet<()>) {
        self.mode.send_replace(Mode::Go);
        let gone = async {
            while let Some(gone) = players.join_next().await {
                gone.expect("a player who does not panic");
            }
        };
        within("players who go", gone).await;
    }

    /// Returns the uid of a player.
    pub(crate) fn uid(player: usize) -> String {
        format!("p{player}")
    }

    /// Returns the name of a room.
    pub(crate) fn room(room: usize) -> String {
        format!("room{room}")
    }

    /// Returns what a player knows about itself.
    pub(crate) fn of(&self, player: usize) -> MutexGuard<'_, Known> {
        locked(&self.known[player])
    }

    /// Returns what each player knows about itself.
    pub(crate) fn known(&self) -> Vec<Known> {
        (0..PLAYERS).map(|player| self.of(player).clone()).collect()
    }

    /// Records that something was wrong.
    pub(crate) fn wrong(&self, what: String) {
        self.tell(format!("WRONG: {what}"));
        locked(&self.wrong).push(what);
    }

    /// # Panics
    ///
    /// Panics if something was wrong.
    pub(crate) fn check(&self) {
        let wrong = locked(&self.wrong);
        assert!(wrong.is_empty(), "{} things were wrong:\n{}", wrong.len(), wrong.join("\n"));
    }

    /// Counts that something happened.
    pub(crate) fn count(&self, what: impl Into<String>) {
        *locked(&self.counts).entry(what.into()).or_default() += 1;
    }

    /// Returns how often each thing happened.
    pub(crate) fn counts(&self) -> BTreeMap<String, usize> {
        locked(&self.counts).clone()
    }

    /// Prints a line, with the seconds since the start.
    pub(crate) fn tell(&self, line: impl std::fmt::Display) {
        eprintln!("{:8.2} {line}", self.begun.elapsed().as_secs_f64());
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
