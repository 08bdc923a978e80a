//! What is known about the player of a connection.

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
    /// It is called by joins, leaves and member lists, and when a connection is closed or kicked. So it must not wait for
    /// a lock that you hold during such a call.
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
