//! The connections of this node, by uid.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::node_state::limits::Duplicates;
use crate::node_state::outbox::Ending;
use crate::node_state::recipient::{ConnectionId, Recipient};
use crate::node_state::sharded::{SHARDS, Sharded, shrunk_capacity};
use crate::node_state::sync::atomic::{AtomicU64, Ordering};
use crate::node_state::sync::{HashMap, HashSet, Notify};
use crate::protocol::Uid;

/// The connections of this node, by uid. The shards reduce contention between players who come and go.
#[derive(Default)]
pub(crate) struct Users {
    shards: Sharded<UserShard>,
    /// The number of claims granted so far: the `order` of the next one.
    granted: AtomicU64,
}

#[derive(Default)]
struct UserShard {
    /// The latest connection of each uid. Nearly all connections are here.
    latest: HashSet<ByUid>,
    /// Older connections of a uid that has a later one, oldest first, until they end.
    earlier: HashMap<Uid, Vec<Arc<dyn Recipient>>>,
    /// Connections that have ended and so have no uid, but whose hooks have not. No send finds them.
    closing: HashMap<Uid, Closing>,
    /// Connections whose hooks have ended too, until their sockets are closed.
    lingering: HashMap<ConnectionId, Arc<dyn Recipient>>,
}

/// The connections of one user that have ended and whose `#[close]` has not run yet.
#[derive(Default)]
struct Closing {
    connections: Vec<Arc<dyn Recipient>>,
    /// Notified when none is left. Exists only while a newer connection waits for that.
    closed: Option<Arc<Notify>>,
}

/// A connection in a set that is searched by uid.
struct ByUid(Arc<dyn Recipient>);

impl Borrow<str> for ByUid {
    fn borrow(&self) -> &str {
        self.0.state().uid.as_str()
    }
}

impl Hash for ByUid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.state().uid.as_str().hash(state);
    }
}

impl PartialEq for ByUid {
    fn eq(&self, other: &Self) -> bool {
        self.0.state().uid == other.0.state().uid
    }
}

impl Eq for ByUid {}

impl UserShard {
    fn of(&self, uid: &str) -> impl Iterator<Item = &Arc<dyn Recipient>> {
        self.earlier.get(uid).into_iter().flatten().chain(self.latest.get(uid).map(|latest| &latest.0))
    }

    /// Removes the connection that has this id from those of the uid.
    fn take(&mut self, uid: &Uid, id: ConnectionId) -> Option<Arc<dyn Recipient>> {
        let Self { latest, earlier, .. } = self;
        // Most users have one connection, and an empty map hashes too.
        let mut others = if earlier.is_empty() { Vec::new() } else { earlier.remove(uid.as_str()).unwrap_or_default() };
        let taken = match latest.take(uid.as_str()) {
            Some(taken) if taken.0.state().id == id => {
                latest.extend(others.pop().map(ByUid));
                Some(taken.0)
            }
            other => {
                latest.extend(other);
                let at = others.iter().position(|other| other.state().id == id);
                at.map(|at| others.remove(at))
            }
        };
        if !others.is_empty() {
            earlier.insert(uid.clone(), others);
        }
        if let Some(capacity) = shrunk_capacity(latest.len(), latest.capacity()) {
            latest.shrink_to(capacity);
        }
        taken
    }

    /// Removes the connection that has this id from those whose hooks have not ended, and tells the newer connection
    /// that waits for the last of them.
    fn take_closing(&mut self, uid: &Uid, id: ConnectionId) -> Option<Arc<dyn Recipient>> {
        let connections = &mut self.closing.get_mut(uid)?.connections;
        let at = connections.iter().position(|closing| closing.state().id == id)?;
        let taken = connections.remove(at);
        if connections.is_empty() {
            let closed = self.closing.remove(uid).and_then(|closing| closing.closed);
            if let Some(closed) = closed {
                closed.notify_waiters();
            }
            if let Some(capacity) = shrunk_capacity(self.closing.len(), self.closing.capacity()) {
                self.closing.shrink_to(capacity);
            }
        }
        Some(taken)
    }
}

impl Users {
    /// The number of shards.
    pub(crate) const SHARDS: usize = SHARDS;

    /// Adds a connection. The returned [`ClaimOutcome`] tells the caller which connections of the same uid must end.
    /// They keep the uid until they are [released](Self::release).
    pub(crate) fn claim(&self, recipient: Arc<dyn Recipient>, duplicates: Duplicates) -> ClaimOutcome {
        let mut shard = self.shards.of(recipient.state().uid.as_str()).write();
        let mut holders = Vec::new();
        if duplicates != Duplicates::Allow {
            holders.extend(shard.of(recipient.state().uid.as_str()).cloned());
        }
        if duplicates == Duplicates::Refuse && holders.iter().any(keeps_uid) {
            // Ended while the shard is locked, so that the next connection with this uid does not find it present.
            recipient.state().outbox.end(Ending::of_duplicate(duplicates));
            shard.lingering.insert(recipient.state().id, recipient);
            return ClaimOutcome::Refused;
        }
        if let Some(before) = shard.latest.replace(ByUid(recipient)) {
            shard.earlier.entry(before.0.state().uid.clone()).or_default().push(before.0);
        }
        ClaimOutcome::Granted { replaced: holders, order: self.granted.fetch_add(1, Ordering::Relaxed) }
    }

    /// Adds a connection that comes from another node, unless this node has a connection of the uid and users may not
    /// have several: that one is newer. Returns the `order` of the claim.
    pub(crate) fn claim_carried(&self, recipient: Arc<dyn Recipient>, duplicates: Duplicates) -> Option<u64> {
        let mut shard = self.shards.of(recipient.state().uid.as_str()).write();
        let is_free = shard.of(recipient.state().uid.as_str()).next().is_none();
        if !is_free && duplicates != Duplicates::Allow {
            return None;
        }
        if let Some(before) = shard.latest.replace(ByUid(recipient)) {
            shard.earlier.entry(before.0.state().uid.clone()).or_default().push(before.0);
        }
        Some(self.granted.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes the uid from a connection that has ended. Other connections of the uid stay. Returns whether it had the
    /// uid.
    pub(crate) fn release(&self, uid: &Uid, id: ConnectionId) -> bool {
        let mut shard = self.shards.of(uid.as_str()).write();
        let Some(ended) = shard.take(uid, id) else { return false };
        shard.closing.entry(uid.clone()).or_default().connections.push(ended);
        true
    }

    /// Records that the hooks of a connection have ended, after its uid was [released](Self::release).
    pub(crate) fn finish(&self, uid: &Uid, id: ConnectionId) {
        let mut shard = self.shards.of(uid.as_str()).write();
        if let Some(finished) = shard.take_closing(uid, id) {
            shard.lingering.insert(id, finished);
        }
    }

    /// Whether the hooks of an ended connection of the user have not ended.
    pub(crate) fn is_closing(&self, uid: &Uid) -> bool {
        self.shards.of(uid.as_str()).read().closing.contains_key(uid)
    }

    /// Waits until the hooks of all ended connections of the user have ended.
    pub(crate) async fn closed(&self, uid: &Uid) {
        loop {
            let notify;
            let closed = {
                let mut shard = self.shards.of(uid.as_str()).write();
                let Some(closing) = shard.closing.get_mut(uid) else { return };
                notify = Arc::clone(closing.closed.get_or_insert_default());
                // Created while the shard is locked, so that it cannot miss the end.
                notify.notified()
            };
            closed.await;
        }
    }

    /// Removes a connection whose socket is closed, after its uid was [released](Self::release).
    pub(crate) fn remove(&self, uid: &Uid, id: ConnectionId) {
        let shard = &mut *self.shards.of(uid.as_str()).write();
        // Its hooks have not ended if kengine itself panics in the connection's task.
        shard.take_closing(uid, id);
        let lingering = &mut shard.lingering;
        lingering.remove(&id);
        if let Some(capacity) = shrunk_capacity(lingering.len(), lingering.capacity()) {
            lingering.shrink_to(capacity);
        }
    }

    /// Returns a connection that has its uid.
    pub(crate) fn find(&self, uid: &Uid, id: ConnectionId) -> Option<Arc<dyn Recipient>> {
        self.shards.of(uid.as_str()).read().of(uid.as_str()).find(|recipient| recipient.state().id == id).cloned()
    }

    /// Calls `each` with every connection of a uid.
    pub(crate) fn for_each_of(&self, uid: &str, each: impl FnMut(&Arc<dyn Recipient>)) {
        self.shards.of(uid).read().of(uid).for_each(each);
    }

    /// Calls `each` with every connection that has not ended.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&Arc<dyn Recipient>)) {
        (0..SHARDS).for_each(|shard| self.for_each_of_shard(shard, &mut each));
    }

    /// Calls `each` with every connection that has not ended, of the shard of this number, below [`Self::SHARDS`].
    pub(crate) fn for_each_of_shard(&self, shard: usize, each: impl FnMut(&Arc<dyn Recipient>)) {
        let UserShard { latest, earlier, .. } = &*self.shards.at(shard).read();
        earlier.values().flatten().chain(latest.iter().map(|latest| &latest.0)).for_each(each);
    }

    /// Whether no connection has a uid.
    pub(crate) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.read().latest.is_empty())
    }

    /// Calls `each` with every connection whose socket is not closed, even if the connection has ended.
    pub(crate) fn for_each_socket(&self, mut each: impl FnMut(&Arc<dyn Recipient>)) {
        self.for_each(&mut each);
        for shard in self.shards.iter() {
            let UserShard { closing, lingering, .. } = &*shard.read();
            closing.values().flat_map(|closing| &closing.connections).chain(lingering.values()).for_each(&mut each);
        }
    }
}

/// Whether a connection keeps its uid from a newer one by [`Duplicates::Refuse`]. One whose player is away does not:
/// otherwise a player who comes back as somebody new would be shut out.
fn keeps_uid(holder: &Arc<dyn Recipient>) -> bool {
    let state = holder.state();
    !state.outbox.is_ending() && !state.silence.is_resting()
}

/// The result of adding a connection.
pub(crate) enum ClaimOutcome {
    /// The connection has the uid, and the replaced ones, some of which may be ending already, must leave at once. Of
    /// two claims on one uid the later has the higher `order`.
    Granted { replaced: Vec<Arc<dyn Recipient>>, order: u64 },
    /// Another connection keeps the uid. The new one was ordered to end.
    Refused,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node_state::recipient::BareConnection;

    /// Claims the uid for a connection of this id.
    fn claim(users: &Users, id: u64, uid: &str) {
        let claim = users.claim(BareConnection::create(id, uid), Duplicates::Allow);
        assert!(matches!(claim, ClaimOutcome::Granted { replaced, .. } if replaced.is_empty()));
    }

    /// Returns the ids of the connections of a uid, in their order.
    fn ids(users: &Users, uid: &str) -> Vec<u64> {
        let mut ids = Vec::new();
        users.for_each_of(uid, |recipient| ids.push(recipient.state().id.0));
        ids
    }

    #[test]
    fn a_connection_of_several_ends_alone() {
        let ada = Uid::new("ada").unwrap();
        for (ended, others) in [(1, [2, 3, 4]), (2, [1, 3, 4]), (3, [1, 2, 4]), (4, [1, 2, 3])] {
            let users = Users::default();
            for id in 1..=4 {
                claim(&users, id, "ada");
            }
            assert_eq!(ids(&users, "ada"), [1, 2, 3, 4]);
            assert!(users.release(&ada, ConnectionId(ended)));
            assert!(!users.release(&ada, ConnectionId(ended)) && !users.release(&ada, ConnectionId(5)));
            assert_eq!(ids(&users, "ada"), others);
            assert!(users.find(&ada, ConnectionId(ended)).is_none());
            let (mut connections, mut sockets) = (0, 0);
            users.for_each(|_| connections += 1);
            users.for_each_socket(|_| sockets += 1);
            assert_eq!((connections, sockets), (3, 4), "the socket of the connection that ended lingers");
            assert!(users.is_closing(&ada));
            users.finish(&ada, ConnectionId(ended));
            assert!(!users.is_closing(&ada), "its hooks have ended");
            for id in 1..=4 {
                users.release(&ada, ConnectionId(id));
                users.remove(&ada, ConnectionId(id));
            }
            assert!(!users.is_closing(&ada));
            users.for_each_socket(|_| panic!("a connection is left"));
        }
    }

    #[test]
    fn users_do_not_take_the_place_of_each_other() {
        const USERS: u64 = 2000;
        let users = Users::default();
        // The shards and their sets are searched by hashes, so among so many users some are close to each other.
        for id in 0..USERS {
            claim(&users, id, &format!("user {id}"));
            claim(&users, USERS + id, &format!("user {id}"));
        }
        for id in 0..USERS {
            assert!(users.release(&Uid::new(format!("user {id}")).unwrap(), ConnectionId(USERS + id)));
        }
        for id in 0..USERS {
            assert_eq!(ids(&users, &format!("user {id}")), [id]);
        }
    }
}
