//! How the sessions of a dispatcher are written for another node, and read.

use std::any::Any;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};

/// The size of the largest session that is handed over, in bytes of JSON.
const MAX_SESSION_SIZE: usize = 64 * 1024;

/// How the sessions of one dispatcher are written for another node, and read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionCodec {
    write: fn(&dyn Any) -> Result<Box<RawValue>, UnfitSession>,
    read: fn(&RawValue) -> Result<Box<dyn Any + Send>, UnfitSession>,
}

/// Why a session is not handed over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnfitSession {
    #[error("the session cannot be written or read as JSON")]
    Json(#[from] serde_json::Error),
    #[error("the session has {0} bytes as JSON, more than {MAX_SESSION_SIZE}")]
    TooLarge(usize),
    /// Never happens: the dispatcher has one type of sessions.
    #[error("the session is of another type")]
    OtherType,
}

impl SessionCodec {
    /// Returns the codec for this type of sessions.
    pub(crate) fn of<S: Serialize + DeserializeOwned + Send + 'static>() -> Self {
        Self {
            write: |session| {
                let json = to_raw_value(session.downcast_ref::<S>().ok_or(UnfitSession::OtherType)?)?;
                match json.get().len() {
                    size if size > MAX_SESSION_SIZE => Err(UnfitSession::TooLarge(size)),
                    _ => Ok(json),
                }
            },
            read: |json| Ok(Box::new(serde_json::from_str::<S>(json.get())?)),
        }
    }

    pub(super) fn write<S: 'static>(&self, session: &S) -> Result<Box<RawValue>, UnfitSession> {
        (self.write)(session)
    }

    pub(super) fn read<S: 'static>(&self, json: &RawValue) -> Result<S, UnfitSession> {
        (self.read)(json)?.downcast::<S>().map(|session| *session).map_err(|_| UnfitSession::OtherType)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_as_it_was_written_unless_it_is_too_large() {
        let codec = SessionCodec::of::<String>();
        for size in [0, MAX_SESSION_SIZE - 2] {
            let session = "x".repeat(size);
            let json = codec.write(&session).expect("it is small enough");
            assert_eq!(codec.read::<String>(&json).expect("a text"), session);
        }
        let refused = codec.write(&"x".repeat(MAX_SESSION_SIZE - 1));
        assert!(matches!(refused, Err(UnfitSession::TooLarge(size)) if size == MAX_SESSION_SIZE + 1));
        let number = to_raw_value(&1).unwrap();
        assert!(matches!(codec.read::<String>(&number), Err(UnfitSession::Json(_))));
        assert!(matches!(codec.write(&1), Err(UnfitSession::OtherType)));
        assert!(matches!(codec.read::<u8>(&to_raw_value("x").unwrap()), Err(UnfitSession::OtherType)));
    }
}
