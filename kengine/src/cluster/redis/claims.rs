//! The uids that connections of this node have claimed, and which of them must be reported to the directory.
//!
//! Only the current state of each uid is sent. This bounds what waits during an outage of the directory: at most the
//! uids that had a connection when the outage began, and those that have one now.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use crate::node_state::ConnectionId;
use crate::protocol::Uid;

/// The claims of this node.
#[derive(Default)]
pub(super) struct Claims {
    own: HashMap<Uid, OwnClaim>,
    /// The uids whose state must be sent.
    unsent: HashSet<Uid>,
}

/// The claim of a connection that has its uid.
struct OwnClaim {
    connection: ConnectionId,
    /// The position of the connection among those of this node: a later connection has a greater one.
    order: u64,
    /// When the uid was claimed.
    at: Instant,
    /// Whether this claim has been sent, answered or not. If it is sent again, any later claim of another node
    /// prevails.
    is_sent: bool,
    /// Whether the player is away, and does not keep the uid from a newer connection of another node.
    is_away: bool,
    /// Whether the directory may hold a claim of this node on the uid, perhaps of an earlier connection.
    is_known: bool,
    passing: Option<Box<Passing>>,
}

/// How a uid passes between a connection of this node and one of another node, whose [name](name_of_connection) it
/// holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Passing {
    /// The connection of the other node gives the uid to the one of this node.
    From(String),
    /// The connection of the other node was ready for the session, but did not get it, so the uid comes back to this
    /// node.
    BackFrom(String),
}

/// Returns the name of a connection of the node with this boot id, as the scripts know it.
pub(super) fn name_of_connection(boot: &str, connection: u64) -> String {
    format!("{boot}-{connection}")
}

/// The state of a uid that must be sent to the directory.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) uid: Uid,
    /// `None` if no connection of this node has the uid.
    pub(super) claim: Option<Claim>,
}

#[derive(Debug)]
pub(super) struct Claim {
    pub(super) connection: ConnectionId,
    pub(super) at: Instant,
    /// Whether the claim may have been sent before.
    pub(super) is_again: bool,
    /// Whether the player is away.
    pub(super) is_away: bool,
    pub(super) passing: Option<Box<Passing>>,
}

impl Claims {
    /// Records that a connection claims a uid, unless a later connection of this node has claimed it.
    pub(super) fn claim(&mut self, uid: &Uid, connection: ConnectionId, order: u64, at: Instant) {
        let earlier = self.own.get(uid);
        if earlier.is_some_and(|own| own.order > order) {
            return;
        }
        let is_known = earlier.map_or_else(|| self.unsent.contains(uid), |own| own.is_known);
        let (is_sent, is_away, passing) = (false, false, None);
        self.own.insert(uid.clone(), OwnClaim { connection, order, at, is_sent, is_away, is_known, passing });
        self.unsent.insert(uid.clone());
    }

    /// Records that a connection gets a uid from the connection `giver` of another node. The directory knows it
    /// already, or will be told by the other way.
    pub(super) fn adopt(&mut self, uid: &Uid, connection: ConnectionId, order: u64, giver: String, at: Instant) {
        self.claim(uid, connection, order, at);
        if let Some(own) = self.own.get_mut(uid).filter(|own| own.connection == connection) {
            (own.is_sent, own.is_known) = (true, true);
            own.passing = Some(Box::new(Passing::From(giver)));
            self.unsent.remove(uid);
        }
    }

    /// Records that the directory knows that a connection has got its uid from one of another node. From now on its
    /// claim is like any other.
    pub(super) fn settle(&mut self, uid: &Uid, connection: ConnectionId) {
        if let Some(own) = self.own.get_mut(uid).filter(|own| own.connection == connection) {
            own.passing = None;
        }
    }

    /// Records that a connection keeps its uid, although the connection `taker` of another node was ready for it, and
    /// may have it.
    pub(super) fn take_back(&mut self, uid: &Uid, connection: ConnectionId, taker: String) {
        if let Some(own) = self.own.get_mut(uid).filter(|own| own.connection == connection) {
            own.passing = Some(Box::new(Passing::BackFrom(taker)));
            self.unsent.insert(uid.clone());
        }
    }

    /// Records whether the player of a connection is away.
    pub(super) fn set_away(&mut self, uid: &Uid, connection: ConnectionId, is_away: bool) {
        let own = self.own.get_mut(uid).filter(|own| own.connection == connection);
        if let Some(own) = own.filter(|own| own.is_away != is_away) {
            own.is_away = is_away;
            self.unsent.insert(uid.clone());
        }
    }

    /// Records that the connection has ended.
    pub(super) fn release(&mut self, uid: &Uid, connection: ConnectionId) {
        match self.remove(uid, connection) {
            Some(own) if own.is_known => _ = self.unsent.insert(uid.clone()),
            Some(_) => _ = self.unsent.remove(uid),
            None => {}
        }
    }

    /// Records that the connection has lost its uid to another node. The directory already knows this.
    pub(super) fn lose(&mut self, uid: &Uid, connection: ConnectionId) {
        if self.remove(uid, connection).is_some() {
            self.unsent.remove(uid);
        }
    }

    fn remove(&mut self, uid: &Uid, connection: ConnectionId) -> Option<OwnClaim> {
        self.own.get(uid).filter(|own| own.connection == connection)?;
        let removed = self.own.remove(uid);
        if self.own.is_empty() {
            // Frees the memory that many connections needed.
            self.own = HashMap::new();
        }
        removed
    }

    /// Marks all claims as unsent.
    pub(super) fn send_again(&mut self) {
        self.unsent.extend(self.own.keys().cloned());
    }

    /// Whether all changes have been sent.
    pub(super) fn are_sent(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Takes at most `max` unsent changes.
    pub(super) fn take(&mut self, max: usize) -> Vec<Change> {
        let uids: Vec<_> = self.unsent.iter().take(max).cloned().collect();
        let changes = uids.into_iter().map(|uid| {
            self.unsent.remove(&uid);
            let claim = self.own.get_mut(&uid).map(|own| {
                let is_again = std::mem::replace(&mut own.is_sent, true);
                own.is_known = true;
                let passing = own.passing.clone();
                Claim { connection: own.connection, at: own.at, is_again, is_away: own.is_away, passing }
            });
            Change { uid, claim }
        });
        let changes = changes.collect();
        if self.unsent.is_empty() {
            self.unsent = HashSet::new();
        }
        changes
    }

    /// Puts back changes that may not have arrived.
    pub(super) fn put_back(&mut self, changes: Vec<Change>) {
        self.unsent.extend(changes.into_iter().map(|change| change.uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid() -> Uid {
        Uid::new("ada").unwrap()
    }

    fn connection(number: u64) -> ConnectionId {
        ConnectionId(number)
    }

    /// Takes all changes. Returns for each the connection that has the uid, and whether the claim may have been sent
    /// before.
    fn sent(claims: &mut Claims) -> Vec<Option<(u64, bool)>> {
        let shown = |claim: Claim| (claim.connection.0, claim.is_again);
        claims.take(10).into_iter().map(|change| change.claim.map(shown)).collect()
    }

    #[test]
    fn only_the_latest_claim_is_sent() {
        let mut claims = Claims::default();
        for number in 1..1000 {
            claims.claim(&uid(), connection(number), number, Instant::now());
            claims.release(&uid(), connection(number));
        }
        assert_eq!(sent(&mut claims), [], "the directory never knew the uid");
        claims.claim(&uid(), connection(1), 1, Instant::now());
        assert_eq!(sent(&mut claims), [Some((1, false))]);
        claims.claim(&uid(), connection(2), 2, Instant::now());
        claims.release(&uid(), connection(1));
        assert_eq!(sent(&mut claims), [Some((2, false))]);
        claims.release(&uid(), connection(2));
        claims.claim(&uid(), connection(3), 3, Instant::now());
        claims.release(&uid(), connection(3));
        assert_eq!(sent(&mut claims), [None]);
        assert_eq!(sent(&mut claims), []);
    }

    #[test]
    fn the_later_connection_has_the_uid_in_any_order_of_claims() {
        let mut claims = Claims::default();
        claims.claim(&uid(), connection(1), 2, Instant::now());
        claims.claim(&uid(), connection(2), 1, Instant::now());
        claims.release(&uid(), connection(2));
        assert_eq!(sent(&mut claims), [Some((1, false))]);
    }

    #[test]
    fn a_change_that_may_not_have_arrived_is_sent_again() {
        let mut claims = Claims::default();
        claims.claim(&uid(), connection(1), 1, Instant::now());
        let taken = claims.take(10);
        claims.put_back(taken);
        assert_eq!(sent(&mut claims), [Some((1, true))]);
        claims.send_again();
        claims.send_again();
        assert_eq!(sent(&mut claims), [Some((1, true))]);
        claims.release(&uid(), connection(1));
        let taken = claims.take(10);
        claims.put_back(taken);
        assert_eq!(sent(&mut claims), [None]);
    }

    #[test]
    fn an_adopted_claim_is_sent_only_again() {
        let mut claims = Claims::default();
        claims.adopt(&uid(), connection(1), 1, "two-9".to_owned(), Instant::now());
        assert_eq!(sent(&mut claims), []);
        claims.send_again();
        assert_eq!(sent(&mut claims), [Some((1, true))]);
        claims.release(&uid(), connection(1));
        assert_eq!(sent(&mut claims), [None]);
    }

    #[test]
    fn a_claim_that_has_come_from_another_node_is_like_any_other_when_that_is_settled() {
        let mut claims = Claims::default();
        claims.adopt(&uid(), connection(1), 1, "two-9".to_owned(), Instant::now());
        let passing = |claims: &mut Claims| {
            claims.send_again();
            claims.take(10).pop().and_then(|change| change.claim).expect("a claim").passing
        };
        claims.settle(&uid(), connection(2));
        assert_eq!(passing(&mut claims), Some(Box::new(Passing::From("two-9".to_owned()))), "another connection");
        claims.settle(&uid(), connection(1));
        assert_eq!(passing(&mut claims), None);
    }

    #[test]
    fn a_claim_is_taken_back_while_the_connection_has_the_uid() {
        let mut claims = Claims::default();
        claims.claim(&uid(), connection(1), 1, Instant::now());
        claims.take(10);
        claims.take_back(&uid(), connection(2), "two-9".to_owned());
        assert_eq!(sent(&mut claims), [], "another connection");
        claims.take_back(&uid(), connection(1), "two-9".to_owned());
        let claim = claims.take(10).pop().and_then(|change| change.claim).expect("a claim");
        assert_eq!((claim.is_again, claim.passing), (true, Some(Box::new(Passing::BackFrom("two-9".to_owned())))));
        claims.take_back(&uid(), connection(1), "two-10".to_owned());
        claims.release(&uid(), connection(1));
        assert_eq!(sent(&mut claims), [None]);
    }

    #[test]
    fn a_lost_claim_is_not_sent_again() {
        let mut claims = Claims::default();
        claims.claim(&uid(), connection(1), 1, Instant::now());
        claims.take(10);
        claims.lose(&uid(), connection(1));
        claims.send_again();
        claims.release(&uid(), connection(1));
        assert_eq!(sent(&mut claims), []);
    }
}
