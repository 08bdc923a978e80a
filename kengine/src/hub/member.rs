//! Who is in a room, as others see them.

use std::ops::Deref;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Error, Push, Result, Uid, hub::Recipient};

/// A user in a room; as JSON `{"uid": "1001", "public": …}`, without `public` if the session shows nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Member {
    /// Who it is.
    pub uid: Uid,
    /// What the session [shows to others](crate::Session::public), as JSON.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(super) public: Value,
}

impl Member {
    pub(super) fn new(one: &dyn Recipient) -> Self {
        Self { uid: one.uid().clone(), public: one.public() }
    }

    /// What the session [shows to others](crate::Session::public).
    ///
    /// # Errors
    ///
    /// `internal` when it is no `T`.
    pub fn public<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(&self.public).map_err(Error::internal)
    }
}

/// The users in a room; as JSON the list of them: `[{"uid": "1001"}, {"uid": "1002", "public": {"level": 3}}]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Members {
    members: Vec<Member>,
    #[serde(skip)]
    is_partial: bool,
}

impl Members {
    pub(super) fn new(mut members: Vec<Member>, is_partial: bool) -> Self {
        members.sort_by(|one, other| one.uid.cmp(&other.uid));
        members.dedup_by(|one, other| one.uid == other.uid);
        Self { members, is_partial }
    }

    /// Whether some are missing, because their node did not answer in time.
    pub fn is_partial(&self) -> bool {
        self.is_partial
    }
}

impl Deref for Members {
    type Target = [Member];

    fn deref(&self) -> &[Member] {
        &self.members
    }
}

impl IntoIterator for Members {
    type Item = Member;
    type IntoIter = std::vec::IntoIter<Member>;

    fn into_iter(self) -> Self::IntoIter {
        self.members.into_iter()
    }
}

/// A user has come: sent as `joined` to the members of a room that [asked for it](crate::Join::with_presence). A user
/// with a second connection of the same node comes with the first, and goes with the last.
///
/// A client gets `{"method": "joined", "message": {"room": "lobby", "uid": "1001", "public": …}}`, without `public` if the
/// session shows nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Joined {
    /// The room.
    pub room: String,
    /// Who has come.
    #[serde(flatten)]
    pub member: Member,
}

impl Push for Joined {
    const NAME: &'static str = "joined";
}

/// A user has gone: sent as `left`, as [`Joined`] is sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Left {
    /// The room.
    pub room: String,
    /// Who has gone.
    #[serde(flatten)]
    pub member: Member,
}

impl Push for Left {
    const NAME: &'static str = "left";
}

/// Whether a user has come or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "redis", derive(Serialize, Deserialize))]
pub(crate) enum Presence {
    Joined,
    Left,
}
