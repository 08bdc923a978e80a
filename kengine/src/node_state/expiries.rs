//! When the sessions of a node expire, for those that do. Another session takes no memory here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use crate::node_state::errors::ExtendError;
use crate::node_state::recipient::{ConnectionId, Recipient};
use crate::node_state::sharded::shrunk_capacity;
use crate::node_state::sync::{HashMap, Mutex};

/// How many sessions that have expired are taken at once. Other tasks run between two batches.
const BATCH: usize = 100;

/// When the sessions of a node expire. Bounded by the number of connections, because a connection that ends is
/// [removed](Self::remove).
#[derive(Default)]
pub(crate) struct Expiries(Mutex<Times>);

#[derive(Default)]
struct Times {
    of_connection: HashMap<ConnectionId, SystemTime>,
    /// The sessions that have not been taken yet, the first to expire first.
    queue: BTreeMap<(SystemTime, ConnectionId), Arc<dyn Recipient>>,
}

impl Expiries {
    /// Adds the session of a connection that has not ended. Returns whether it is the only one.
    pub(crate) fn add(&self, recipient: Arc<dyn Recipient>, at: SystemTime) -> bool {
        let id = recipient.state().id;
        let mut times = self.0.lock();
        times.of_connection.insert(id, at);
        times.queue.insert((at, id), recipient);
        times.queue.len() == 1
    }

    /// Returns when the session of a connection expires.
    pub(crate) fn of(&self, id: ConnectionId) -> Option<SystemTime> {
        self.0.lock().of_connection.get(&id).copied()
    }

    /// Lets a session expire at `until` if that is later than before.
    pub(crate) fn extend(&self, id: ConnectionId, until: SystemTime, now: SystemTime) -> Result<(), ExtendError> {
        let Times { of_connection, queue } = &mut *self.0.lock();
        // Otherwise it never expires.
        let Some(at) = of_connection.get_mut(&id) else { return Ok(()) };
        if *at <= now {
            return Err(ExtendError::Closed);
        }
        if *at < until {
            // It was taken already if the clock was set back since then.
            let recipient = queue.remove(&(*at, id)).ok_or(ExtendError::Closed)?;
            queue.insert((until, id), recipient);
            *at = until;
        }
        Ok(())
    }

    /// Forgets the session of a connection that has ended.
    pub(crate) fn remove(&self, id: ConnectionId) {
        let mut times = self.0.lock();
        if times.of_connection.is_empty() {
            // An empty map hashes too.
            return;
        }
        let Some(at) = times.of_connection.remove(&id) else { return };
        if let Some(capacity) = shrunk_capacity(times.of_connection.len(), times.of_connection.capacity()) {
            times.of_connection.shrink_to(capacity);
        }
        let removed = times.queue.remove(&(at, id));
        drop(times);
        // Without the lock, because this may drop the session.
        drop(removed);
    }

    /// Takes connections whose sessions have expired. There may be more unless this returns none.
    pub(crate) fn take_expired(&self, now: SystemTime) -> Vec<Arc<dyn Recipient>> {
        let mut times = self.0.lock();
        let mut taken = Vec::new();
        while taken.len() < BATCH
            && let Some(first) = times.queue.first_entry()
            && first.key().0 <= now
        {
            taken.push(first.remove());
        }
        taken
    }

    /// Returns when the next session expires that has not been taken.
    pub(crate) fn next(&self) -> Option<SystemTime> {
        self.0.lock().queue.first_key_value().map(|((at, _), _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::node_state::recipient::BareConnection;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// Adds sessions of connections with these ids, each of which expires after as many seconds.
    fn expiries(ids: impl IntoIterator<Item = u64>) -> Expiries {
        let expiries = Expiries::default();
        for (index, id) in ids.into_iter().enumerate() {
            assert_eq!(expiries.add(BareConnection::create(id, &id.to_string()), at(id)), index == 0);
        }
        expiries
    }

    fn taken(expiries: &Expiries, now: SystemTime) -> Vec<u64> {
        expiries.take_expired(now).iter().map(|recipient| recipient.state().id.0).collect()
    }

    #[test]
    fn sessions_are_taken_in_the_order_of_their_times() {
        let expiries = expiries([3, 1, 4, 2]);
        assert_eq!(expiries.next(), Some(at(1)));
        assert_eq!(taken(&expiries, at(0)), [0; 0]);
        assert_eq!(taken(&expiries, at(2)), [1, 2]);
        assert_eq!((taken(&expiries, at(2)), expiries.next()), (vec![], Some(at(3))));
        expiries.remove(ConnectionId(3));
        expiries.remove(ConnectionId(3));
        assert_eq!((taken(&expiries, at(9)), expiries.next()), (vec![4], None));
    }

    #[test]
    fn an_extended_session_is_taken_later() {
        let expiries = expiries([1, 2, 3]);
        let id = ConnectionId(1);
        expiries.extend(id, at(5), at(0)).unwrap();
        expiries.extend(id, at(4), at(0)).unwrap();
        assert_eq!(expiries.of(id), Some(at(5)), "it was shortened");
        assert_eq!(taken(&expiries, at(4)), [2, 3]);
        expiries.extend(id, at(7), at(4)).unwrap();
        assert_eq!(taken(&expiries, at(6)), [0; 0]);
        assert_eq!(taken(&expiries, at(7)), [1]);
        expiries.extend(ConnectionId(4), at(5), at(0)).expect("a session that never expires");
        assert_eq!(expiries.of(ConnectionId(4)), None);
    }

    #[test]
    fn a_session_that_has_expired_is_not_extended() {
        let expiries = expiries([5]);
        let id = ConnectionId(5);
        let extend = |now| expiries.extend(id, at(9), at(now));
        assert!(matches!(extend(5), Err(ExtendError::Closed)), "it has not been taken yet");
        assert_eq!(taken(&expiries, at(5)), [5]);
        assert!(matches!(extend(5), Err(ExtendError::Closed)));
        assert!(matches!(extend(4), Err(ExtendError::Closed)), "the clock was set back");
    }

    #[test]
    fn what_has_ended_takes_no_memory() {
        let expiries = expiries(1..=1000);
        let recipient = BareConnection::create(1001, "kept");
        expiries.add(Arc::clone(&recipient), at(1001));
        for id in 1..=1001 {
            expiries.remove(ConnectionId(id));
        }
        assert_eq!(Arc::strong_count(&recipient), 1);
        let times = expiries.0.lock();
        assert!(times.queue.is_empty() && times.of_connection.is_empty());
        assert!(times.of_connection.capacity() < 100, "{} places are kept", times.of_connection.capacity());
    }
}
