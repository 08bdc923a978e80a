//! Game loops: what a node and its cluster tell each other about them, and the node and the user's code.
//!
//! A game loop belongs to the node that holds its *lease*. The node measures the lease from the moment before it asked
//! for it, and gives it up earlier than others may take it. So at no moment two nodes run the loop of a room.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::node_state::errors::SendError;
use crate::protocol::{Error, Uid};

/// Why a game loop does not run in a room, or did not get a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GameLoopError {
    /// No game loop runs in the room, or it is moving to another node.
    #[error("no game loop runs in the room; try again in a moment")]
    NotRunning,
    /// The cluster cannot be reached, or this node is leaving it.
    #[error("the node of the game loop cannot be reached; try again in a moment")]
    Unavailable,
    /// The reply did not come in time.
    #[error("the game loop did not reply in time")]
    TimedOut,
    /// Too many messages wait for the loop ([`Server::max_game_loop_queue`](crate::Server::max_game_loop_queue)).
    #[error("too many messages wait for the game loop; try again in a moment")]
    Busy,
    /// The message has this number of bytes, more than allowed
    /// ([`Server::max_game_loop_message_size`](crate::Server::max_game_loop_message_size)).
    #[error("the message to the game loop has {0} bytes, more than allowed")]
    TooLarge(usize),
    /// The node already has this number of game loops, the maximum
    /// ([`Server::max_game_loops`](crate::Server::max_game_loops)).
    #[error("the node has {0} game loops, which is its maximum")]
    TooMany(usize),
    /// The room has a game loop of another [kind](crate::room::GameLoop::kind), which has this name. Only nodes that
    /// run this kind take it over, and another one starts only when it is over.
    #[error("the room has the game loop `{0}`; another kind of loop can run in it only when that one is over")]
    OtherKind(String),
    /// The loop panicked when it handled the message. It starts anew with what it last saved.
    #[error("the game loop failed")]
    Failed,
    /// The message or the reply cannot be written as JSON, or is not what the other side expects.
    #[error("the message or the reply does not fit its type")]
    Invalid(#[source] serde_json::Error),
}

impl From<GameLoopError> for Error {
    /// Becomes `timeout` if the reply did not come in time, `too_large` for a message that is too large, `bad_request`
    /// if the room has a loop of another kind, `unavailable` if the client may try again, and otherwise `internal`.
    fn from(error: GameLoopError) -> Self {
        match error {
            GameLoopError::TimedOut => Self::new("timeout", error.to_string()),
            GameLoopError::TooLarge(_) => Self::new("too_large", error.to_string()),
            GameLoopError::OtherKind(_) => Self::new("bad_request", error.to_string()),
            GameLoopError::NotRunning
            | GameLoopError::Unavailable
            | GameLoopError::Busy
            | GameLoopError::TooMany(_) => Self::new("unavailable", error.to_string()),
            GameLoopError::Failed | GameLoopError::Invalid(_) => Self::internal(error),
        }
    }
}

/// A call of [`GameLoop::tick`](crate::room::GameLoop::tick).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tick {
    /// How many ticks were due since the loop started on this node, with this one and those that were missed.
    pub number: u64,
    /// How many ticks before this one were missed, because the loop or its machine was busy. A game with steps of a
    /// fixed length simulates `1 + missed` of them, up to a limit.
    pub missed: u64,
    /// How long after its time this tick is called: less than the time between two ticks.
    pub late: Duration,
}

/// The user's game loop, without its types. Each method calls the user's code, which may panic.
pub(crate) trait LoopDriver: Send {
    fn tick(&mut self, tick: Tick);

    /// Handles a message, and returns the reply as JSON.
    fn message(&mut self, message: &[u8]) -> Result<Bytes, LoopFault>;

    fn joined(&mut self, player: &Uid);

    fn left(&mut self, player: &Uid);

    fn emptied(&mut self);

    fn ended(&mut self);

    /// Returns what is to be saved, together with the players that the loop knows.
    fn save(&self, players: &[&Uid]) -> serde_json::Result<Option<Bytes>>;
}

/// A game loop, and the players that it knows already.
pub(crate) type StartedLoop = (Box<dyn LoopDriver>, Vec<Uid>);

/// Starts the user's game loop, which calls the user's code. Returns `None` if the node is gone.
pub(crate) type CreateLoop = Arc<dyn Fn(&Arc<str>, &Arc<LoopLease>, LoopStart) -> Option<StartedLoop> + Send + Sync>;

/// Why a game loop starts; with what was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LoopStart {
    Created,
    Moved(Option<Bytes>),
}

/// The constants of the user's game loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoopSettings {
    /// The name of the kind of loop, by which nodes know what they can take over.
    pub(crate) kind: &'static str,
    pub(crate) tick: Duration,
    pub(crate) linger: Duration,
    pub(crate) save_interval: Duration,
}

/// A node's lease of a game loop.
#[derive(Debug)]
pub(crate) struct LoopLease {
    created: Instant,
    fence: AtomicU64,
    /// When it ends, in microseconds after `created`.
    until: AtomicU64,
    /// Whether the loop has ended itself.
    has_ended: AtomicBool,
}

impl LoopLease {
    pub(crate) fn new(fence: u64, until: Instant) -> Self {
        let lease = Self {
            created: Instant::now(),
            fence: AtomicU64::new(fence),
            until: AtomicU64::new(0),
            has_ended: AtomicBool::new(false),
        };
        lease.renew(fence, until);
        lease
    }

    pub(crate) fn renew(&self, fence: u64, until: Instant) {
        let micros = until.saturating_duration_since(self.created).as_micros();
        self.fence.store(fence, Ordering::Relaxed);
        self.until.store(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Release);
    }

    pub(crate) fn fence(&self) -> u64 {
        self.fence.load(Ordering::Relaxed)
    }

    /// Returns when it ends.
    pub(crate) fn until(&self) -> Instant {
        self.created + Duration::from_micros(self.until.load(Ordering::Acquire))
    }

    pub(crate) fn is_valid(&self) -> bool {
        Instant::now() < self.until()
    }

    /// # Errors
    ///
    /// The lease has ended, so another node may run the loop already.
    pub(crate) fn check(&self) -> Result<(), SendError> {
        if self.is_valid() { Ok(()) } else { Err(SendError::Unavailable) }
    }

    /// Lets the loop end after the current call.
    pub(crate) fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }
}

/// What a node asks of the lease of a game loop.
#[derive(Clone, Debug)]
pub(crate) struct LeaseRequest {
    pub(crate) room: Arc<str>,
    /// The kind of the loop.
    pub(crate) kind: &'static str,
    /// The fencing number of the lease that this node has or had; 0 if it had none.
    pub(crate) fence: u64,
    /// Whether that lease has not ended.
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "the leases in memory do not need it"))]
    pub(crate) is_valid: bool,
    pub(crate) wish: LeaseWish,
    /// Saved together with the lease, if this node has it.
    pub(crate) saved: Option<Bytes>,
    /// How long after the end of the lease the saved state is kept.
    pub(crate) keep: Duration,
}

/// What a node wants of the lease of a game loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseWish {
    /// To renew the lease that it has.
    Renew,
    /// To take the lease, even if the room has no loop yet.
    Start,
    /// To take the lease if the room has a loop that no node runs.
    TakeOver,
    /// To give the lease to any node that wants it.
    HandOver,
    /// To end the loop.
    End,
}

/// The answer to a [`LeaseRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LeaseAnswer {
    /// The node still has the lease, perhaps with a new fencing number, and no other node had it in between.
    Renewed { fence: u64 },
    /// The node has the lease, and starts the loop.
    Taken { fence: u64, start: LoopStart },
    /// Another node has the lease, for this time if it does not renew it.
    Elsewhere { remaining: Duration },
    /// The room has a loop of another kind, on another node or on none.
    OtherKind(String),
    /// The room has no loop, or it could not be taken, or it was given up as wished.
    Nowhere,
}

/// A message to the node that runs the game loop of a room.
#[derive(Clone, Debug)]
pub(crate) enum LoopMessage {
    /// To a loop of this kind.
    Tell(Cow<'static, str>, Bytes),
    /// To a loop of this kind. The reply carries this number.
    Ask(Cow<'static, str>, u64, Bytes),
    /// All users in the room on the sender's node, which can take the loop over if it `stands_by`.
    Roster { users: Vec<Uid>, stands_by: bool },
}

/// Why a game loop has not replied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "redis", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum LoopFault {
    NotRunning,
    /// The room has a loop of another kind, which has this name.
    OtherKind(String),
    Busy,
    Failed,
    /// The message or the reply does not fit its type, or is too large.
    Invalid,
}

impl From<LoopFault> for GameLoopError {
    fn from(fault: LoopFault) -> Self {
        match fault {
            LoopFault::NotRunning => Self::NotRunning,
            LoopFault::OtherKind(kind) => Self::OtherKind(kind),
            LoopFault::Busy => Self::Busy,
            LoopFault::Failed => Self::Failed,
            LoopFault::Invalid => {
                Self::Invalid(serde::de::Error::custom("the game loop cannot read the message, or cannot reply"))
            }
        }
    }
}

/// Is told when users join or leave rooms of this node.
pub(crate) trait RoomWatcher: Send + Sync {
    /// The members of a room on this node have changed. The room is locked.
    fn members_changed(&self, room: &str);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nothing_is_sent_after_the_end_of_the_lease() {
        let second = Duration::from_secs(1);
        let lease = LoopLease::new(1, Instant::now() + second);
        assert!(lease.check().is_ok());
        tokio::time::advance(second).await;
        assert!(matches!(lease.check(), Err(SendError::Unavailable)));
        lease.renew(2, Instant::now() + second);
        assert!(lease.check().is_ok());
        assert_eq!(lease.fence(), 2);
    }
}
