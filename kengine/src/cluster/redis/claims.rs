//! Whose uids this node's connections have, and what the directory has not been told of that.
//!
//! For each uid only what is so now is told: what cannot be told for long grows no larger than the users there were when
//! the directory went away, and those there are.

use std::collections::{HashMap, HashSet};

use crate::{language::uid::Uid, local::connection_id::ConnectionId};

#[derive(Default)]
pub(super) struct Claims {
    own: HashMap<Uid, Own>,
    /// Uids of which the directory is to be told anew.
    untold: HashSet<Uid>,
}

/// A connection that has its uid.
struct Own {
    connection: ConnectionId,
    /// Among the connections of this node.
    order: u64,
    /// Since when, in milliseconds of the directory's clock.
    at: i64,
    /// The directory may have been told, with or without an answer: then a later claim of another node stands.
    is_told: bool,
    /// The directory may have heard of the uid from this node, be it for an earlier connection.
    is_known: bool,
}

/// Something about a uid that the directory is to know.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) uid: Uid,
    /// Who has it, unless nobody of this node does.
    pub(super) claim: Option<Claimed>,
}

#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) connection: ConnectionId,
    pub(super) at: i64,
    /// It may have been told before.
    pub(super) is_again: bool,
}

impl Claims {
    pub(super) fn claim(&mut self, uid: &Uid, connection: ConnectionId, order: u64, at: i64) {
        let before = self.own.get(uid);
        if before.is_some_and(|own| own.order > order) {
            return;
        }
        let is_known = before.map_or_else(|| self.untold.contains(uid), |own| own.is_known);
        self.own.insert(uid.clone(), Own { connection, order, at, is_told: false, is_known });
        self.untold.insert(uid.clone());
    }

    /// The connection has ended.
    pub(super) fn release(&mut self, uid: &Uid, connection: ConnectionId) {
        match self.remove(uid, connection) {
            Some(own) if own.is_known => _ = self.untold.insert(uid.clone()),
            Some(_) => _ = self.untold.remove(uid),
            None => {}
        }
    }

    /// The connection has lost its uid to another node's, which the directory knows.
    pub(super) fn lose(&mut self, uid: &Uid, connection: ConnectionId) {
        if self.remove(uid, connection).is_some() {
            self.untold.remove(uid);
        }
    }

    fn remove(&mut self, uid: &Uid, connection: ConnectionId) -> Option<Own> {
        self.own.get(uid).filter(|own| own.connection == connection)?;
        let removed = self.own.remove(uid);
        if self.own.is_empty() {
            // A crowd that has left leaves no space behind.
            self.own = HashMap::new();
        }
        removed
    }

    /// The directory may have forgotten all of it.
    pub(super) fn untell(&mut self) {
        self.untold.extend(self.own.keys().cloned());
    }

    /// Whether the directory has been told everything.
    pub(super) fn are_told(&self) -> bool {
        self.untold.is_empty()
    }

    /// Takes at most so many changes, to tell them.
    pub(super) fn take(&mut self, most: usize) -> Vec<Change> {
        let uids: Vec<_> = self.untold.iter().take(most).cloned().collect();
        let changes = uids.into_iter().map(|uid| {
            self.untold.remove(&uid);
            let claim = self.own.get_mut(&uid).map(|own| {
                let is_again = std::mem::replace(&mut own.is_told, true);
                own.is_known = true;
                Claimed { connection: own.connection, at: own.at, is_again }
            });
            Change { uid, claim }
        });
        let changes = changes.collect();
        if self.untold.is_empty() {
            self.untold = HashSet::new();
        }
        changes
    }

    /// These were not told, or none knows whether they were.
    pub(super) fn put_back(&mut self, changes: Vec<Change>) {
        self.untold.extend(changes.into_iter().map(|change| change.uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid() -> Uid {
        Uid::new("ada").unwrap()
    }

    fn connection(number: u64) -> ConnectionId {
        ConnectionId::new(number)
    }

    /// Whose claims are told, and whether again.
    fn told(claims: &mut Claims) -> Vec<Option<(u64, bool)>> {
        let shown = |claimed: Claimed| (claimed.connection.number(), claimed.is_again);
        claims.take(10).into_iter().map(|change| change.claim.map(shown)).collect()
    }

    #[test]
    fn only_the_latest_is_told() {
        let mut claims = Claims::default();
        for number in 1..1000 {
            claims.claim(&uid(), connection(number), number, 0);
            claims.release(&uid(), connection(number));
        }
        assert_eq!(told(&mut claims), [], "never heard of");
        claims.claim(&uid(), connection(1), 1, 0);
        assert_eq!(told(&mut claims), [Some((1, false))]);
        claims.claim(&uid(), connection(2), 2, 0);
        claims.release(&uid(), connection(1));
        assert_eq!(told(&mut claims), [Some((2, false))]);
        claims.release(&uid(), connection(2));
        claims.claim(&uid(), connection(3), 3, 0);
        claims.release(&uid(), connection(3));
        assert_eq!(told(&mut claims), [None]);
        assert_eq!(told(&mut claims), []);
    }

    #[test]
    fn the_later_of_two_has_the_uid_however_they_come() {
        let mut claims = Claims::default();
        claims.claim(&uid(), connection(1), 2, 0);
        claims.claim(&uid(), connection(2), 1, 0);
        claims.release(&uid(), connection(2));
        assert_eq!(told(&mut claims), [Some((1, false))]);
    }

    #[test]
    fn what_may_not_have_been_told_is_told_again() {
        let mut claims = Claims::default();
        claims.claim(&uid(), connection(1), 1, 0);
        let taken = claims.take(10);
        claims.put_back(taken);
        assert_eq!(told(&mut claims), [Some((1, true))]);
        claims.untell();
        claims.untell();
        assert_eq!(told(&mut claims), [Some((1, true))]);
        claims.release(&uid(), connection(1));
        let taken = claims.take(10);
        claims.put_back(taken);
        assert_eq!(told(&mut claims), [None]);
    }

    #[test]
    fn who_has_lost_is_told_no_more() {
        let mut claims = Claims::default();
        claims.claim(&uid(), connection(1), 1, 0);
        claims.take(10);
        claims.lose(&uid(), connection(1));
        claims.untell();
        claims.release(&uid(), connection(1));
        assert_eq!(told(&mut claims), []);
    }
}
