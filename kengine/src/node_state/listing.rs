//! The rooms that are listed: those that have seats or show data.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::protocol::{Error, Result};

/// The number of rooms that one query looks at.
pub(crate) const MAX_SCANNED_ROOMS: usize = 500;

/// Which rooms a list contains.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoomQuery<'q> {
    pub(crate) prefix: &'q str,
    /// The cursor of the page before, or an empty text for the first page.
    pub(crate) after: &'q str,
    pub(crate) max: usize,
    pub(crate) with_free_seats: bool,
}

/// Why a room does not show its data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetPublicError {
    /// The room has no member on this node.
    #[error("the room has no member on this node; join it first")]
    NoMembers,
    /// The data has this number of bytes as JSON, more than a room may show
    /// ([`Server::max_room_data_size`](crate::Server::max_room_data_size)).
    #[error("the data of the room has {0} bytes, more than a room may show")]
    TooLarge(usize),
    /// The data cannot be written as JSON.
    #[error("the data of the room cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
}

impl From<SetPublicError> for Error {
    /// Becomes `internal`, because the code of the game has to change.
    fn from(error: SetPublicError) -> Self {
        Self::internal(error)
    }
}

/// The cluster cannot be reached, so nobody knows its rooms.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("other nodes cannot be reached, so nobody knows the rooms of the cluster; try again in a moment")]
#[non_exhaustive]
pub struct ListError;

impl From<ListError> for Error {
    /// Becomes `unavailable`.
    fn from(error: ListError) -> Self {
        Self::new("unavailable", error.to_string())
    }
}

/// A page of rooms, from [`Rooms::list`](crate::room::Rooms::list). As JSON: `{"rooms": [{"name": "arena-1", "members":
/// 3, "seats": 9, "taken": 3, "nodes": ["10.0.0.7:8000"], "public": …}], "next": "arena-1"}`.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct RoomPage {
    /// The rooms.
    pub rooms: Vec<RoomSummary>,
    /// Where the next page begins; `None` on the last page. A page with filters may have fewer rooms than its maximum,
    /// even none, although there is a next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A room in a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RoomSummary {
    /// The name of the room.
    pub name: String,
    /// The number of connections in the room, on all nodes.
    pub members: usize,
    /// The number of its seats; `None` if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seats: Option<usize>,
    /// The number of players who have a seat.
    pub taken: usize,
    /// The addresses of the nodes that have members or players in the room.
    pub nodes: Vec<String>,
    /// What the room shows.
    #[serde(skip_serializing_if = "Value::is_null")]
    public: Value,
}

impl RoomSummary {
    pub(crate) fn new(name: &str, seats: usize, taken: usize, public: Option<&str>) -> Self {
        // Cannot fail, because it was written as JSON; the program that wrote it may be another one, though.
        let public = public.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        let seats = Some(seats).filter(|seats| *seats > 0);
        Self { name: name.to_owned(), members: 0, seats, taken, nodes: Vec::new(), public }
    }

    /// Whether the room has a seat that nobody has taken.
    pub fn has_free_seat(&self) -> bool {
        self.seats.is_some_and(|seats| self.taken < seats)
    }

    /// Returns what the room [shows](crate::room::Room::set_public).
    ///
    /// # Errors
    ///
    /// `internal` if it shows nothing, or something else than a `T`.
    pub fn public<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(&self.public).map_err(Error::internal)
    }
}
