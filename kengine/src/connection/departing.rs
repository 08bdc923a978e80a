//! How a session leaves for the node to which its player comes back: it is offered, given, and forgotten when the other
//! node has it. `node_state/hand_over.rs` shows the steps.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::value::RawValue;

use crate::connection::departures::{DepartureDue, Offered};
use crate::connection::endpoint::Endpoint;
use crate::connection::resumption::Resumption;
use crate::connection::socket::Socket;
use crate::connection::socket_state::SocketState;
use crate::dispatch::Dispatcher;
use crate::handles::Connection;
use crate::node_state::{Asker, HandOverStep, Outbox, SessionOffer, StoredSession, call_catching};
use crate::protocol::resumption::Token;
use crate::protocol::{DisconnectReason, logged};

impl Socket {
    /// Whether another node has asked for the session, or waits for it. Called when every message that was read is
    /// handled.
    #[inline]
    pub(super) fn is_asked_for(&mut self) -> bool {
        self.end.resumption().is_some_and(|resumption| resumption.is_asked_for())
    }

    /// Whether the session can be offered to another node: its client has this token, and has received this many
    /// messages.
    fn can_be_offered(&mut self, token: Token, received: u64, outbox: &Outbox) -> bool {
        if self.end.resumption().is_none_or(|resumption| !resumption.has(token)) {
            return false;
        }
        if self.can_suspend(outbox) {
            // The earlier socket only seems to be open.
            self.suspend(DisconnectReason::Replaced.close_frame(), outbox);
        }
        if self.state != SocketState::Suspended {
            return false;
        }
        let can_resume = self.end.resumption().is_some_and(|resumption| resumption.exchange.can_resume(received));
        if !can_resume {
            // Never in part.
            self.end(SocketState::Over, DisconnectReason::NotResumed);
        }
        can_resume
    }

    /// Ends the connection of a session that this node has parted with.
    fn end_given(&mut self) {
        let id = self.link.registration.id();
        if let Some(resumption) = self.end.resumption() {
            resumption.end_departure(id);
        }
        self.end(SocketState::Over, DisconnectReason::NotResumed);
    }

    /// Parts with the session, which is this text now, and stores its messages for the node that has asked for it.
    fn give(&mut self, asker: &Asker, session: Box<str>, outbox: &Outbox) {
        let node = Arc::clone(self.link.registration.node_arc());
        let recipient = Arc::clone(self.link.registration.recipient());
        let (Some(hand_overs), Some(resumption)) = (node.hand_overs(), self.end.resumption()) else { return };
        let mut is_complete = true;
        let is_given = node.carry_out(&*recipient, || {
            // No connection joins or leaves a room meanwhile.
            let now = Offered { rooms: node.rooms.carried(&*recipient), session };
            is_complete = resumption.has_offered(recipient.state().id, &now);
            if !is_complete {
                return false;
            }
            let state = recipient.state();
            let expires = node.expiry(state).map_or(u64::MAX, milliseconds);
            if !outbox.give_up(&mut resumption.exchange, &node.fan_out.backlog) {
                // It is about to end for another reason.
                return false;
            }
            let mut messages = [expires, state.questions.asked()].map(u64::to_be_bytes).concat();
            messages.extend_from_slice(&resumption.exchange.to_bytes());
            is_complete = hand_overs.store(asker, messages).is_ok();
            is_complete
        });
        if is_given {
            resumption.give(recipient.state().id);
            self.state = SocketState::Given;
            self.link.registration.end_suspension();
        } else if !is_complete {
            // What the other node would have had to deliver is lost, or the session has changed since it was offered.
            self.end(SocketState::Over, DisconnectReason::NotResumed);
        }
    }
}

/// Does what is due for the hand-over of a session.
pub(super) async fn depart<D: Dispatcher>(
    endpoint: &Endpoint<D>,
    connection: &Connection<D::Session>,
    socket: &mut Socket,
) {
    let is_given = socket.state == SocketState::Given;
    let due = socket.end.resumption().and_then(|resumption| resumption.take_departure(connection.id(), is_given));
    let outbox = &connection.state().outbox;
    match due {
        Some(DepartureDue::Offer(asker, token, received)) => {
            let was_suspended = socket.state == SocketState::Suspended;
            if !socket.can_be_offered(token, received, outbox) {
                let resumption = socket.end.resumption();
                resumption.map(|resumption| resumption.cancel_departure(connection.id(), HandOverStep::Refused));
            } else if was_suspended {
                offer(endpoint, connection, socket, &asker);
            } else {
                // After `#[suspend]`.
                socket.end.resumption().into_iter().for_each(Resumption::call);
            }
        }
        Some(DepartureDue::Give(asker)) => {
            // Calls the user's code, so no lock is held. A text that cannot be written is another one than was offered.
            let session = written(endpoint, connection).map(<Box<str>>::from).unwrap_or_default();
            socket.give(&asker, session, outbox);
        }
        Some(DepartureDue::Forget(asker)) => forget(endpoint, socket, &asker),
        Some(DepartureDue::TakeBack(asker)) => take_back(endpoint, connection, socket, &asker).await,
        None => {}
    }
}

/// Returns a session as JSON. A failure is logged.
fn written<D: Dispatcher>(endpoint: &Endpoint<D>, connection: &Connection<D::Session>) -> Option<Box<RawValue>> {
    let codec = endpoint.codec?;
    // A panic is logged where it is caught.
    let written = call_catching(|| codec.write(connection.session())).ok()?;
    written.inspect_err(|error| tracing::error!(error = logged(error), "a session cannot be handed over")).ok()
}

/// Offers a session to the node that has asked for it.
fn offer<D: Dispatcher>(
    endpoint: &Endpoint<D>,
    connection: &Connection<D::Session>,
    socket: &mut Socket,
    asker: &Asker,
) {
    let Some(resumption) = socket.end.resumption() else { return };
    let Some(session) = written(endpoint, connection) else {
        resumption.cancel_departure(connection.id(), HandOverStep::Refused);
        return;
    };
    let (node, state) = (&endpoint.node, connection.state());
    let rooms = node.rooms.carried(connection.as_recipient());
    let offered = Offered { rooms: rooms.clone(), session: session.get().into() };
    if let Some(number) = resumption.offer(state.id, asker, offered) {
        let names = rooms.iter().map(|room| &room.name);
        let offer = SessionOffer {
            loops: names.filter(|name| node.knows_loop(name)).cloned().collect(),
            number,
            connection: state.id.0,
            uid: state.uid.clone(),
            session,
            rooms,
            expires: node.expiry(state).map(milliseconds),
        };
        node.tell(asker, HandOverStep::Offered(Box::new(offer)));
    }
}

/// Forgets a session that another node has.
fn forget<D: Dispatcher>(endpoint: &Endpoint<D>, socket: &mut Socket, asker: &Asker) {
    if let Some(hand_overs) = endpoint.node.hand_overs() {
        hand_overs.forget(asker);
    }
    socket.forget_hooks();
    socket.end_given();
    tracing::debug!(connection = socket.link.registration.id().0, "the session was handed over");
}

/// Finds out whether the other node has the session, which has not said so. If it has not, the session ends.
async fn take_back<D: Dispatcher>(
    endpoint: &Endpoint<D>,
    connection: &Connection<D::Session>,
    socket: &mut Socket,
    asker: &Asker,
) {
    let Some(hand_overs) = endpoint.node.hand_overs() else { return };
    let is_lost = match hand_overs.take_back(asker).await {
        Ok(StoredSession::Taken) => return forget(endpoint, socket, asker),
        Ok(StoredSession::Messages(_) | StoredSession::Absent) => true,
        Err(_) => {
            endpoint.node.is_abandoned()
                || socket.end.resumption().is_none_or(|resumption| !resumption.wait_again(connection.id()))
        }
    };
    if is_lost {
        endpoint.node.rooms.announce_lost(connection.as_recipient());
        socket.end_given();
    }
}

/// Returns a time in milliseconds since 1970.
fn milliseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX - 1)
}
