//! The identity of a room.

use std::sync::Arc;

use crate::local::{
    join_error::JoinError,
    limits::{MAX_ROOM_NAME_LEN, MAX_ROOM_PREFIX_LEN},
};

/// The identity of a room: its name, and the family that it belongs to if it has seats.
#[derive(Debug)]
pub(crate) struct RoomId {
    pub(super) name: Arc<str>,
    pub(super) family: Option<Arc<str>>,
}

/// Checks the name of a room: 1 to 64 bytes without control characters.
pub(super) fn check_name(name: &str) -> Result<(), JoinError> {
    if name.is_empty() || name.len() > MAX_ROOM_NAME_LEN || name.contains(char::is_control) {
        return Err(JoinError::InvalidName);
    }
    Ok(())
}

/// Checks the prefix of rooms with seats: 1 to 27 bytes without control characters.
pub(super) fn check_prefix(prefix: &str) -> Result<(), JoinError> {
    if prefix.len() > MAX_ROOM_PREFIX_LEN || check_name(prefix).is_err() {
        return Err(JoinError::InvalidPrefix);
    }
    Ok(())
}
