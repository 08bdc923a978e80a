//! The part of a node in the hand-over of sessions: how a connection comes from another node, or goes there, without
//! anybody being told.

use std::sync::{Arc, Weak};
use std::time::SystemTime;

use tokio::sync::mpsc;

use crate::node::Node;
use crate::node::moves::{MAX_WAITING_STEPS, Unheard};
use crate::node_state::{
    Asker, CarriedRoom, ConnectionId, Duplicates, GrantedSeat, HandOverStep, HandOvers, Recipient, SessionAsk,
    SessionHolder, SessionOffer,
};

/// A hand-over that this node has asked for. Dropping it ends the wait for its steps.
pub(crate) struct AwaitedHandOver {
    node: Arc<Node>,
    pub(crate) connection: ConnectionId,
    steps: mpsc::Receiver<(String, HandOverStep)>,
}

impl AwaitedHandOver {
    /// Waits for the next step. Returns it with the node that has told it.
    pub(crate) async fn next(&mut self) -> Option<(String, HandOverStep)> {
        self.steps.recv().await
    }

    /// Returns the next step if it has been told already.
    pub(crate) fn next_if_there(&mut self) -> Option<(String, HandOverStep)> {
        self.steps.try_recv().ok()
    }
}

impl Drop for AwaitedHandOver {
    fn drop(&mut self) {
        self.node.moves.awaited.lock().remove(&self.connection.0);
    }
}

impl Node {
    /// Returns how sessions are handed over, if this node does so.
    pub(crate) fn hand_overs(&self) -> Option<&dyn HandOvers> {
        self.cluster.hand_overs().filter(|_| self.limits.hands_over)
    }

    /// Sets who holds the sessions that may be handed over. Called at most once.
    pub(crate) fn set_session_holder(&self, holder: Weak<dyn SessionHolder>) {
        // Cannot fail, because it is called at most once.
        let _ = self.moves.holder.set(holder);
    }

    /// Whether every connection must be cut off.
    pub(crate) fn is_abandoned(&self) -> bool {
        *self.abandoned.borrow()
    }

    /// Prepares for the steps of the hand-over of a session to a new connection.
    pub(crate) fn await_hand_over(self: &Arc<Self>) -> AwaitedHandOver {
        let connection = self.next_id();
        let (sender, steps) = mpsc::channel(MAX_WAITING_STEPS);
        self.moves.awaited.lock().insert(connection.0, sender);
        AwaitedHandOver { node: Arc::clone(self), connection, steps }
    }

    /// Tells a node that has asked for a session how it goes on.
    pub(crate) fn tell(&self, asker: &Asker, step: HandOverStep) {
        if let Some(hand_overs) = self.hand_overs() {
            hand_overs.tell(&asker.node, asker.number, step);
        }
    }

    /// Begins to deliver to a connection whose session comes from another node, and tells that node. From now on it is
    /// like any other connection, but does not get yet from the bus what the other node still delivers. Returns `false`
    /// if it cannot be: then nothing has happened.
    pub(crate) fn carry_in(
        self: &Arc<Self>,
        recipient: &Arc<dyn Recipient>,
        (old_node, offer): (&str, &SessionOffer),
        rooms: Vec<(CarriedRoom, Option<GrantedSeat<'_>>)>,
        expires: Option<SystemTime>,
    ) -> bool {
        let (state, duplicates) = (recipient.state(), self.limits.duplicates);
        let Some(hand_overs) = self.hand_overs() else { return false };
        {
            let _closed = self.rooms.gate.close();
            // Before the bus can find it.
            self.moves.ignore(state.id, Unheard::UntilReady(old_node.to_owned()));
            let Some(order) = self.users.claim_carried(Arc::clone(recipient), duplicates) else {
                self.moves.ignore_nothing(state.id);
                return false;
            };
            let uid = (duplicates != Duplicates::Allow).then_some(&state.uid);
            let names: Vec<_> = rooms.iter().map(|(room, _)| room.name.clone()).collect();
            let has_entered = self.rooms.carry_in(recipient, rooms).is_ok();
            if has_entered {
                // Before the other node says that the user is not there any more.
                for room in &names {
                    self.report_to_loop(room, offer.loops.contains(room));
                }
            }
            let is_ready = has_entered && hand_overs.ready(old_node, state.id.0, offer, uid).is_ok();
            if is_ready {
                if let Some(uid) = uid {
                    hand_overs.adopt(uid, state.id, order, (old_node, offer.connection));
                }
                if let Some(at) = expires
                    && self.expiries.add(Arc::clone(recipient), at)
                {
                    self.expiry_added.notify_one();
                }
                self.watch();
                let ending = self.admission.lock().ending.clone();
                if let Some(ending) = ending {
                    state.outbox.end(ending);
                }
                return true;
            }
            self.rooms.carry_out(&**recipient);
            self.users.release(&state.uid, state.id);
        }
        self.forget_carried(&**recipient);
        false
    }

    /// Removes a connection that was [carried in](Self::carry_in), because the other node does not hand its session
    /// over. That node announces that the user has left, unless this one must (`announces`).
    pub(crate) fn give_carried_up(&self, recipient: &dyn Recipient, announces: bool) {
        let state = recipient.state();
        state.outbox.shut(&self.fan_out.backlog);
        if announces {
            self.release(recipient);
        } else {
            {
                let _closed = self.rooms.gate.close();
                self.rooms.carry_out(recipient);
            }
            self.expiries.remove(state.id);
            if self.users.release(&state.uid, state.id) {
                self.cluster.release(&state.uid, state.id);
            }
        }
        if let Some(hand_overs) = self.hand_overs().filter(|_| self.limits.duplicates != Duplicates::Allow) {
            hand_overs.give_up(&state.uid, state.id);
        }
        self.forget_carried(recipient);
    }

    fn forget_carried(&self, recipient: &dyn Recipient) {
        self.remove(recipient);
        self.moves.ignore_nothing(recipient.state().id);
    }

    /// Parts with a connection whose session goes to another node: it is in no room and has no seat and no uid here any
    /// more, and nobody is told. `give` makes its outbox shut, and queues for the bus what tells the other node; if it
    /// returns `false`, nothing happens.
    pub(crate) fn carry_out(&self, recipient: &dyn Recipient, give: impl FnOnce() -> bool) -> bool {
        let state = recipient.state();
        let is_given = {
            let _closed = self.rooms.gate.close();
            let is_given = give();
            if is_given {
                self.rooms.carry_out(recipient);
                self.expiries.remove(state.id);
                if self.users.release(&state.uid, state.id)
                    && let Some(hand_overs) = self.hand_overs()
                {
                    hand_overs.part_with(&state.uid, state.id);
                }
            }
            is_given
        };
        self.moves.ignore_nothing(state.id);
        state.questions.close();
        is_given
    }

    /// Lets a connection get everything from the bus again, or forgets that it got nothing.
    pub(crate) fn hear(&self, connection: ConnectionId) {
        self.moves.ignore_nothing(connection);
    }

    pub(super) fn pass_on_ask(&self, asker: &Asker, ask: SessionAsk) {
        let holder = self.moves.holder.get().and_then(Weak::upgrade);
        match holder.map(|holder| holder.ask(asker.clone(), ask)) {
            Some(Ok(superseded)) => {
                if let Some(superseded) = superseded {
                    self.tell(&superseded, HandOverStep::Superseded);
                }
            }
            Some(Err(_)) | None => self.tell(asker, HandOverStep::Refused),
        }
    }

    pub(super) fn take_step(&self, from: &str, number: u64, step: HandOverStep, is_own: bool) {
        let asker = || Asker { node: from.to_owned(), number };
        let holder = || self.moves.holder.get().and_then(Weak::upgrade);
        match step {
            // What other nodes send from here on is delivered by this node.
            HandOverStep::Ready { .. } if is_own => self.moves.ready(ConnectionId(number)),
            HandOverStep::Ready { connection, uid } => {
                let (connection, asker) = (ConnectionId(connection), asker());
                // Unless it is on its way to another node already.
                let is_first = self.moves.ignore(connection, Unheard::Everything);
                if !holder().is_some_and(|holder| holder.let_go(connection, &asker)) {
                    if is_first {
                        self.moves.ignore_nothing(connection);
                    }
                    if let (Some(uid), Some(hand_overs)) = (uid, self.hand_overs()) {
                        hand_overs.keep(&uid, connection, &asker);
                    }
                    self.tell(&asker, HandOverStep::Refused);
                }
            }
            HandOverStep::Taken(connection) => {
                if let Some(holder) = holder() {
                    holder.was_taken(ConnectionId(connection), &asker());
                }
            }
            step @ (HandOverStep::Offered(_)
            | HandOverStep::Refused
            | HandOverStep::Superseded
            | HandOverStep::Stored) => {
                if matches!(step, HandOverStep::Stored) {
                    self.moves.ignore_nothing(ConnectionId(number));
                }
                // The wait may be over.
                let sender = self.moves.awaited.lock().get(&number).cloned();
                let _ = sender.map(|sender| sender.try_send((from.to_owned(), step)));
            }
        }
    }
}
