//! The id of a user.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::protocol::error::Error;
use crate::protocol::name_characters::is_forbidden_in_names;

/// The id of a user, the same on all connections and nodes: 1 to 128 bytes without control characters. Cheap to clone.
///
/// Characters that break lines or change the direction of text count as control characters too: U+061C, U+200E, U+200F,
/// U+2028–U+202E and U+2066–U+2069. With them, two uids could look the same.
///
/// ```
/// use kengine::Uid;
///
/// assert_eq!(Uid::from(1001).as_str(), "1001");
/// assert_eq!(Uid::new("ada")?.to_string(), "ada");
/// assert!("".parse::<Uid>().is_err());
/// # Ok::<(), kengine::InvalidUid>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Uid(#[serde(serialize_with = "serialize")] Arc<str>);

impl Uid {
    /// The length of the longest uid, in bytes.
    pub const MAX_LEN: usize = 128;

    /// Creates a uid from a text.
    ///
    /// # Errors
    ///
    /// The text is empty, longer than [`MAX_LEN`](Self::MAX_LEN), or contains a control character.
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidUid> {
        let text = text.as_ref();
        if text.is_empty() {
            Err(InvalidUid::Empty)
        } else if text.len() > Self::MAX_LEN {
            Err(InvalidUid::TooLong(text.len()))
        } else if text.contains(is_forbidden_in_names) {
            Err(InvalidUid::ControlCharacter)
        } else {
            Ok(Self(text.into()))
        }
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Creates a unique uid from 128 random bits.
    pub(crate) fn random() -> Self {
        let bits = (u128::from(random_bits()) << 64) | u128::from(random_bits());
        Self(format!("{bits:032x}").into())
    }
}

/// Returns 64 random bits from the operating system or, if that fails, from std's randomly keyed hasher.
pub(crate) fn random_bits() -> u64 {
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

macro_rules! from_integers {
    ($($integer:ty)*) => {$(
        impl From<$integer> for Uid {
            fn from(integer: $integer) -> Self {
                // Always valid: a sign and at most 39 digits.
                Self(integer.to_string().into())
            }
        }
    )*};
}

from_integers!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize);

impl FromStr for Uid {
    type Err = InvalidUid;

    fn from_str(text: &str) -> Result<Self, InvalidUid> {
        Self::new(text)
    }
}

impl<'a> From<&'a Uid> for Cow<'a, str> {
    fn from(uid: &'a Uid) -> Self {
        Cow::Borrowed(uid.as_str())
    }
}

impl AsRef<str> for Uid {
    fn as_ref(&self) -> &str {
        &self.0
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

/// Why a text is not a valid [`Uid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidUid {
    /// The text is empty.
    #[error("a uid must not be empty")]
    Empty,
    /// The text has this number of bytes, which is more than [`Uid::MAX_LEN`].
    #[error("a uid has at most {max} bytes, this one has {0}", max = Uid::MAX_LEN)]
    TooLong(usize),
    /// The text contains a [control character](Uid).
    #[error("a uid must not hold control characters")]
    ControlCharacter,
}

impl From<InvalidUid> for Error {
    /// Becomes `bad_request`.
    fn from(error: InvalidUid) -> Self {
        Self::new("bad_request", error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_can_be_used_as_a_text() {
        let ada = Uid::new("ada").unwrap();
        let texts: [&str; 3] = [ada.as_str(), ada.as_ref(), ada.borrow()];
        assert_eq!(texts, ["ada"; 3]);
        assert_eq!(Cow::from(&ada), "ada");
    }

    #[test]
    fn all_digits_of_a_random_uid_are_random() {
        let uids: Vec<_> = (0..100).map(|_| Uid::random()).collect();
        for digit in 0..32 {
            let first = uids[0].as_str().as_bytes()[digit];
            assert!(uids.iter().any(|uid| uid.as_str().as_bytes()[digit] != first), "digit {digit}");
        }
    }
}
