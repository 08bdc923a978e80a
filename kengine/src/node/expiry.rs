//! Sessions that expire: when, and what happens then. It does not matter whether the player has a socket at that time.

use std::time::{Duration, SystemTime};

use crate::node::Node;
use crate::node_state::{Clock, ConnectionState, Ending, ExtendError};
use crate::protocol::DisconnectReason;

/// How often at least the time is compared with the system's clock, which may be set forward at any time.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Returns whether a session that expires then has expired now.
pub(crate) fn has_expired(expires: Option<SystemTime>) -> bool {
    expires.is_some_and(|at| at <= Clock::system_time())
}

impl Node {
    /// Returns when the session of a connection expires. `None` if it never does, or the connection has ended.
    pub(crate) fn expiry(&self, connection: &ConnectionState) -> Option<SystemTime> {
        self.expiries.of(connection.id)
    }

    /// Lets the session of a connection expire at `until`, unless it expires later anyway.
    pub(crate) fn extend(&self, connection: &ConnectionState, until: SystemTime) -> Result<(), ExtendError> {
        let now = Clock::system_time();
        let extended =
            if until <= now { Err(ExtendError::Past) } else { self.expiries.extend(connection.id, until, now) };
        // Checked last: a connection that has ended meanwhile is forgotten, and looks as if it would never expire.
        if connection.memberships.have_ended() { Err(ExtendError::Closed) } else { extended }
    }

    /// Ends the connections whose sessions have expired. Returns how long to wait before the next call, or `None` if no
    /// session expires.
    pub(super) async fn end_expired(&self) -> Option<Duration> {
        loop {
            let now = Clock::system_time();
            let expired = self.expiries.take_expired(now);
            if expired.is_empty() {
                let next = self.expiries.next()?;
                return Some(next.duration_since(now).unwrap_or_default().min(CHECK_INTERVAL));
            }
            for recipient in &expired {
                self.end(&**recipient, Ending::Close(DisconnectReason::Expired));
            }
            // Other tasks run before more sessions end.
            tokio::task::yield_now().await;
        }
    }
}
