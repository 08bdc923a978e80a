//! The sessions that other nodes have asked for: how far each of them is on its way, and what its task must do next.
//! `node_state/hand_over.rs` shows the steps.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use crate::node_state::{Asker, CarriedRoom, ConnectionId, NoSession, Recipient};
use crate::protocol::resumption::Token;

/// How often it is tried to find out whether another node has a session.
const MAX_ATTEMPTS: u8 = 50;

/// The sessions that other nodes have asked for.
#[derive(Default)]
pub(super) struct Departures {
    departures: HashMap<ConnectionId, Departure>,
    /// The number of offers so far.
    offers: u64,
}

/// The hand-over of a session to another node.
pub(super) struct Departure {
    pub(super) asker: Asker,
    pub(super) recipient: Arc<dyn Recipient>,
    pub(super) stage: DepartureStage,
    /// How often it could not be found out whether the other node has the session.
    attempts: u8,
}

pub(super) enum DepartureStage {
    /// The session has not been offered yet. Holds the token, and how many messages the client has received.
    Asked(Token, u64),
    Offered(Offered),
    /// The other node is ready.
    LetGo(Offered),
    /// This node has parted with the session.
    Given,
    /// The other node has it.
    Taken,
}

/// What was offered of a session. It moves only if this has not changed.
#[derive(Debug, Default)]
pub(super) struct Offered {
    pub(super) rooms: Vec<CarriedRoom>,
    /// The session as JSON.
    pub(super) session: Box<str>,
}

impl Offered {
    fn is_still(&self, now: &Self) -> bool {
        let Self { rooms, session } = self;
        let have_rooms_changed = || rooms.iter().zip(&now.rooms).any(|(room, now)| !room.is_same_place(now));
        *session == now.session && rooms.len() == now.rooms.len() && !have_rooms_changed()
    }
}

/// What the task of a session must do for its hand-over.
pub(super) enum DepartureDue {
    /// Offer it, if this token and this number of received messages allow that.
    Offer(Asker, Token, u64),
    Give(Asker),
    /// Forget it, because the other node has it.
    Forget(Asker),
    /// Find out whether the other node has it.
    TakeBack(Asker),
}

/// It is too late to end a hand-over.
#[derive(Debug)]
pub(super) struct TooLate;

impl Departure {
    /// The client has come to the asker with this token, and has received this many messages.
    pub(super) fn new(asker: Asker, recipient: Arc<dyn Recipient>, token: Token, received: u64) -> Self {
        Self { asker, recipient, stage: DepartureStage::Asked(token, received), attempts: 0 }
    }

    /// Whether the other node is not ready yet.
    fn may_end(&self) -> bool {
        matches!(self.stage, DepartureStage::Asked(..) | DepartureStage::Offered(_))
    }
}

impl Departures {
    /// Begins a hand-over. Returns the earlier one of the same session, which it supersedes.
    ///
    /// # Errors
    ///
    /// It is too late, because the earlier asker is ready.
    pub(super) fn begin(&mut self, departure: Departure) -> Result<Option<Departure>, NoSession> {
        let id = departure.recipient.state().id;
        if self.departures.get(&id).is_some_and(|earlier| !earlier.may_end()) {
            return Err(NoSession);
        }
        Ok(self.departures.insert(id, departure))
    }

    /// Returns what the task of a session must do, if anything. `is_given`: whether it has parted with the session.
    pub(super) fn due(&self, id: ConnectionId, is_given: bool) -> Option<DepartureDue> {
        let Departure { asker, stage, .. } = self.departures.get(&id)?;
        let asker = asker.clone();
        match stage {
            DepartureStage::Asked(token, received) => Some(DepartureDue::Offer(asker, *token, *received)),
            DepartureStage::LetGo(_) => Some(DepartureDue::Give(asker)),
            DepartureStage::Taken => Some(DepartureDue::Forget(asker)),
            DepartureStage::Given => Some(DepartureDue::TakeBack(asker)),
            DepartureStage::Offered(_) => None,
        }
        .filter(|due| is_given == matches!(due, DepartureDue::Forget(_) | DepartureDue::TakeBack(_)))
    }

    /// Records that a session is offered to who has asked for it. Returns the number of the offer, or `None` if
    /// somebody else has asked meanwhile, or nobody waits any more.
    pub(super) fn offer(&mut self, id: ConnectionId, asker: &Asker, offered: Offered) -> Option<u64> {
        let departure = self.departures.get_mut(&id).filter(|departure| departure.asker == *asker)?;
        departure.stage = DepartureStage::Offered(offered);
        self.offers += 1;
        Some(self.offers)
    }

    /// Whether the other node is ready for a session, and nothing of the session has changed since it was offered.
    /// `now` is what would be offered now.
    pub(super) fn has_offered(&self, id: ConnectionId, now: &Offered) -> bool {
        let stage = self.departures.get(&id).map(|departure| &departure.stage);
        matches!(stage, Some(DepartureStage::LetGo(offered)) if offered.is_still(now))
    }

    /// Lets a session go that was offered to this asker. Returns it, or `None` if it was not, or is not any more.
    pub(super) fn let_go(&mut self, id: ConnectionId, asker: &Asker) -> Option<Arc<dyn Recipient>> {
        self.advance(id, asker, |stage| {
            let DepartureStage::Offered(offered) = stage else { return None };
            Some(DepartureStage::LetGo(mem::take(offered)))
        })
    }

    /// Records that this asker has a session. Returns it if it was given to this asker.
    pub(super) fn was_taken(&mut self, id: ConnectionId, asker: &Asker) -> Option<Arc<dyn Recipient>> {
        let taken = |stage: &mut _| matches!(stage, DepartureStage::Given).then_some(DepartureStage::Taken);
        self.advance(id, asker, taken)
    }

    fn advance(
        &mut self,
        id: ConnectionId,
        asker: &Asker,
        next: impl FnOnce(&mut DepartureStage) -> Option<DepartureStage>,
    ) -> Option<Arc<dyn Recipient>> {
        let departure = self.departures.get_mut(&id).filter(|departure| departure.asker == *asker)?;
        departure.stage = next(&mut departure.stage)?;
        Some(Arc::clone(&departure.recipient))
    }

    /// Records that this node has parted with a session.
    pub(super) fn give(&mut self, id: ConnectionId) {
        if let Some(departure) = self.departures.get_mut(&id) {
            departure.stage = DepartureStage::Given;
        }
    }

    /// Counts an attempt to find out whether the other node has a session. Returns whether there may be another one.
    pub(super) fn may_try_again(&mut self, id: ConnectionId) -> bool {
        self.departures.get_mut(&id).is_some_and(|departure| {
            departure.attempts += 1;
            departure.attempts < MAX_ATTEMPTS
        })
    }

    /// Ends a hand-over if the other node is not ready yet. Returns it if there was one.
    ///
    /// # Errors
    ///
    /// The other node is ready, or has the session.
    pub(super) fn cancel(&mut self, id: ConnectionId) -> Result<Option<Departure>, TooLate> {
        match self.departures.get(&id) {
            Some(departure) if !departure.may_end() => Err(TooLate),
            _ => Ok(self.remove(id)),
        }
    }

    /// Forgets a hand-over.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Departure> {
        self.departures.remove(&id)
    }
}
