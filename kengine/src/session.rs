//! Who a player is: the session, made when a connection is accepted, and the uid in it.

use std::{
    borrow::{Borrow, Cow},
    fmt,
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{Error, Refusal};

/// What is known of a connection's player: made by `#[accept]`, borrowed by handlers as `&Player`.
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
/// A [`Uid`] alone is a session, and so is `()`, that of a dispatcher without `#[accept]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a session",
    label = "expected a type that implements `kengine::Session`",
    note = "add `impl kengine::Session for {Self} {{}}`",
    note = "an `#[accept]` that may refuse returns a `Result` such as `Result<Player, kengine::Refusal>`"
)]
pub trait Session: Sized + Send + Sync + 'static {
    /// Who the player is; `None`, the default, for a guest, whose connection gets a random uid.
    fn uid(&self) -> Option<Uid> {
        None
    }

    /// What others may know of the player: shown in the lists of the rooms that the player is in, and when others are
    /// told who comes and goes. Nothing, unless overridden.
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

    /// The session of a connection that no `#[accept]` has looked at. By default there is none, and a dispatcher
    /// without `#[accept]` refuses everyone with 500.
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

/// Who a player is, over all connections and nodes: 1 to 128 bytes without control characters. Cheap to clone.
///
/// ```
/// use kengine::Uid;
///
/// assert_eq!(Uid::from(1001).as_str(), "1001");
/// assert_eq!(Uid::new("ada")?.to_string(), "ada");
/// assert!(Uid::new("").is_err());
/// # Ok::<(), kengine::InvalidUid>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Uid(#[serde(serialize_with = "serialize")] Arc<str>);

impl Uid {
    /// The longest uid, in bytes.
    pub const LONGEST: usize = 128;

    /// A uid of this text.
    ///
    /// # Errors
    ///
    /// When it is empty, longer than [`LONGEST`](Self::LONGEST), or holds a control character.
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidUid> {
        let text = text.as_ref();
        if text.is_empty() {
            Err(InvalidUid::Empty)
        } else if text.len() > Self::LONGEST {
            Err(InvalidUid::TooLong(text.len()))
        } else if text.contains(char::is_control) {
            Err(InvalidUid::ControlCharacter)
        } else {
            Ok(Self(text.into()))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One that nobody else has: 128 random bits.
    pub(crate) fn random() -> Self {
        let bits = (u128::from(random()) << 64) | u128::from(random());
        Self(format!("{bits:032x}").into())
    }
}

/// 64 bits of the operating system's, or, where it has none to give, of the hasher's, which is keyed.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    getrandom::u64().unwrap_or_else(|_| RandomState::new().hash_one(std::thread::current().id()))
}

fn serialize<S: serde::Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

impl<'de> Deserialize<'de> for Uid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::new(text).map_err(de::Error::custom)
    }
}

macro_rules! from_numbers {
    ($($number:ty)*) => {$(
        impl From<$number> for Uid {
            fn from(number: $number) -> Self {
                // Digits, at most 40 of them.
                Self(number.to_string().into())
            }
        }
    )*};
}

from_numbers!(i32 i64 u16 u32 u64 u128);

impl TryFrom<&str> for Uid {
    type Error = InvalidUid;

    fn try_from(text: &str) -> Result<Self, InvalidUid> {
        Self::new(text)
    }
}

impl TryFrom<String> for Uid {
    type Error = InvalidUid;

    fn try_from(text: String) -> Result<Self, InvalidUid> {
        Self::new(text)
    }
}

impl<'a> From<&'a Uid> for Cow<'a, str> {
    fn from(uid: &'a Uid) -> Self {
        Cow::Borrowed(uid.as_str())
    }
}

impl From<Uid> for Cow<'_, str> {
    fn from(uid: Uid) -> Self {
        Cow::Owned(uid.as_str().to_owned())
    }
}

impl Borrow<str> for Uid {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uid({:?})", &*self.0)
    }
}

/// Why a text is no [`Uid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidUid {
    /// It is empty.
    #[error("a uid must not be empty")]
    Empty,
    /// It has so many bytes.
    #[error("a uid has at most {longest} bytes, this one has {0}", longest = Uid::LONGEST)]
    TooLong(usize),
    /// It holds a control character.
    #[error("a uid must not hold control characters")]
    ControlCharacter,
}

impl From<InvalidUid> for Error {
    fn from(error: InvalidUid) -> Self {
        Self::new("bad_request", error.to_string())
    }
}

impl From<InvalidUid> for Refusal {
    /// 400.
    fn from(error: InvalidUid) -> Self {
        Self::bad_request(error.to_string())
    }
}
