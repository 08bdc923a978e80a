//! What is known about the player of a connection.

use std::time::SystemTime;

use serde::Serialize;

use crate::protocol::uid::Uid;

/// What is known about the player of a connection: `#[accept]` creates it, handlers borrow it as `&Player`.
///
/// ```
/// use kengine::{Handshake, Refusal, Session, Uid};
///
/// struct Player {
///     id: u64,
///     level: u32,
/// }
///
/// impl Session for Player {
///     fn uid(&self) -> Option<Uid> {
///         Some(self.id.into())
///     }
/// }
///
/// struct Game;
///
/// #[kengine::dispatcher]
/// impl Game {
///     #[accept]
///     async fn enter(&self, handshake: &Handshake) -> Result<Player, Refusal> {
///         let token = handshake.query("token").ok_or_else(|| Refusal::unauthorized("no token"))?;
///         let id = token.parse().map_err(|_| Refusal::unauthorized("not a token"))?;
///         Ok(Player { id, level: 1 })
///     }
///
///     #[route]
///     async fn level(&self, player: &Player) -> u32 {
///         player.level
///     }
/// }
/// ```
///
/// A [`Uid`] alone is a session too. `()` is the session of a dispatcher without `#[accept]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a session",
    label = "expected a type that implements `kengine::Session`",
    note = "add `impl kengine::Session for {Self} {{}}`",
    note = "an `#[accept]` that may refuse returns a `Result` such as `Result<Player, kengine::Refusal>`"
)]
pub trait Session: Sized + Send + Sync + 'static {
    /// Returns the player's uid. The default is `None`: the player is a guest, and the connection gets a random uid.
    fn uid(&self) -> Option<Uid> {
        None
    }

    /// Returns what other players may see: in the member lists of rooms and in presence pushes. The default is nothing.
    ///
    /// It is called by joins, leaves and member lists, and when a connection is closed or kicked. So it must not wait
    /// for a lock that you hold during such a call.
    ///
    /// ```
    /// # struct Player { name: String, secret: String }
    /// impl kengine::Session for Player {
    ///     fn public(&self) -> impl serde::Serialize {
    ///         &self.name
    ///     }
    /// }
    /// ```
    fn public(&self) -> impl Serialize {}

    /// Returns when the session expires, for example with the token that `#[accept]` has checked. The default is
    /// `None`: never.
    ///
    /// It is called after `#[accept]`. If the time has come by then, the request is refused with 401 `unauthorized`.
    /// Later the connection is closed with 4003 `session expired` within a second after the time, unless
    /// [`Connection::extend`](crate::Connection::extend) sets a later one. `#[close]` is told
    /// [`DisconnectReason::Expired`](crate::DisconnectReason::Expired). A player who
    /// [resumes](crate::Server::resume_within) the session is accepted again: the session that `#[accept]` returns then
    /// is dropped, but if it expires later, the resumed one does too.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    ///
    /// struct Player {
    ///     /// When the player's token expires, in seconds since 1970.
    ///     exp: u64,
    /// }
    ///
    /// impl kengine::Session for Player {
    ///     fn expires(&self) -> Option<SystemTime> {
    ///         // A time that the system cannot represent is `None`: never.
    ///         SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.exp))
    ///     }
    /// }
    /// ```
    ///
    /// # The clock
    ///
    /// The node compares the time with the system's clock at least twice a second. If that clock is set forward, or the
    /// machine was suspended, the sessions that have expired by the new time end within a second; if it is set back,
    /// they last longer. The clock that counts is the node's, so a token from another machine should be given the
    /// difference that you expect between their clocks.
    ///
    /// While a test has [paused](crate::testing#time) tokio's clock, the node's time stands still too, and goes on as
    /// tokio's clock does: it is `SystemTime::now()`, plus what tokio's clock is ahead of real time.
    fn expires(&self) -> Option<SystemTime> {
        None
    }

    /// Returns the session of a connection to a dispatcher without `#[accept]`. The default is `None`: such a
    /// dispatcher refuses every connection with 500.
    fn anonymous() -> Option<Self> {
        None
    }
}

impl Session for () {
    fn anonymous() -> Option<Self> {
        Some(())
    }
}

impl Session for Uid {
    fn uid(&self) -> Option<Uid> {
        Some(self.clone())
    }
}
