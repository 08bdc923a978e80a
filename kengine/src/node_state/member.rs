//! The members of a room, as other players see them.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::node_state::recipient::Recipient;
use crate::protocol::{Error, Push, Result, Uid};

/// A user in a room. As JSON: `{"uid": "1001", "public": …}`, without `public` if the session shows nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Member {
    /// The user's uid.
    pub uid: Uid,
    /// [`Session::public`](crate::Session::public) as JSON.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    public: Value,
}

impl Member {
    pub(crate) fn new(recipient: &dyn Recipient) -> Self {
        Self { uid: recipient.state().uid.clone(), public: recipient.public() }
    }

    /// Returns what the session [shows to other players](crate::Session::public).
    ///
    /// # Errors
    ///
    /// `internal` if it cannot be decoded as a `T`.
    pub fn public<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(&self.public).map_err(Error::internal)
    }
}

/// The users in a room, sorted by uid. As JSON: `[{"uid": "1001"}, {"uid": "1002", "public": {"level": 3}}]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Members {
    members: Vec<Member>,
    #[serde(skip)]
    is_partial: bool,
}

impl Members {
    pub(crate) fn new(mut members: Vec<Member>, is_partial: bool) -> Self {
        members.sort_by(|one, other| one.uid.cmp(&other.uid));
        members.dedup_by(|one, other| one.uid == other.uid);
        Self { members, is_partial }
    }

    /// Returns the number of users.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether the room has no users.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Returns an iterator over the users.
    pub fn iter(&self) -> std::slice::Iter<'_, Member> {
        self.members.iter()
    }

    /// Whether users are missing, because a node did not answer in time.
    pub fn is_partial(&self) -> bool {
        self.is_partial
    }
}

impl<'a> IntoIterator for &'a Members {
    type Item = &'a Member;
    type IntoIter = std::slice::Iter<'a, Member>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Members {
    type Item = Member;
    type IntoIter = std::vec::IntoIter<Member>;

    fn into_iter(self) -> Self::IntoIter {
        self.members.into_iter()
    }
}

/// A user has joined a room: sent as `joined` to the members who [asked for
/// presence](crate::room::Join::with_presence). A user with several connections on one node joins with the first and
/// leaves with the last of them.
///
/// A client gets `{"method": "joined", "message": {"room": "lobby", "uid": "1001", "public": …}}`, without `public` if
/// the session shows nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Joined {
    /// The name of the room.
    pub room: String,
    /// The user who has joined.
    #[serde(flatten)]
    pub member: Member,
}

impl Push for Joined {
    const NAME: &'static str = "joined";
}

/// A user has left a room: sent as `left`, like [`Joined`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Left {
    /// The name of the room.
    pub room: String,
    /// The user who has left.
    #[serde(flatten)]
    pub member: Member,
}

impl Push for Left {
    const NAME: &'static str = "left";
}

/// Whether a user has joined or left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "redis", derive(Serialize, Deserialize))]
pub(crate) enum Presence {
    Joined,
    Left,
}
