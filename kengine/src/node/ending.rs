//! The end of a connection: the moment from which it is in no room and has no seat and no uid, on this node and in the
//! cluster.
//!
//! This is the moment of the decision: when [`Node::close`] orders the end, or when the connection's own task finds a
//! reason ([`Registration::end`](crate::node::admission::Registration::end)), whichever comes first. What takes longer
//! does not delay it: the running handler, `#[close]`, and the socket, which lingers for its close handshake and keeps
//! its slot. Only the user's next connection on this node waits for the handler and `#[close]`: with its `#[open]`, or
//! with its `#[resume]` if another node has handed its session over.

use std::task::Waker;

use crate::node::Node;
use crate::node_state::deferred_wakes::defer_while;
use crate::node_state::{ConnectionState, Duplicates, Ending, Recipient};
use crate::protocol::DisconnectReason;
use crate::websocket::Close;

impl Node {
    /// Ends a connection: what is queued for it is still sent, then the close frame. Returns whether this call has
    /// ended it. Calls the session's code, so no lock may be held.
    pub(crate) fn close(&self, connection: &ConnectionState, close: Close) -> bool {
        let has_ended = connection.outbox.end(Ending::Close(DisconnectReason::Server(close)));
        if has_ended && let Some(recipient) = self.users.find(&connection.uid, connection.id) {
            self.release(&*recipient);
        }
        has_ended
    }

    /// Ends a connection as [`close`](Self::close) does.
    pub(super) fn end(&self, recipient: &dyn Recipient, ending: Ending) -> bool {
        let has_ended = recipient.state().outbox.end(ending);
        if has_ended {
            self.release(recipient);
        }
        has_ended
    }

    /// Ends a connection whose uid a newer one has, unless it is ending already. In either case it has left when this
    /// returns.
    pub(super) fn replace(&self, older: &dyn Recipient) {
        if !self.end(older, Ending::Close(DisconnectReason::Replaced)) {
            self.release(older);
        }
    }

    /// Takes a connection that has ended out of its rooms, the users and the claims of the cluster. Does nothing if
    /// that has happened already. Calls the session's code, so no lock may be held.
    pub(super) fn release(&self, recipient: &dyn Recipient) {
        let state = recipient.state();
        state.questions.close();
        // Wakes the members of several rooms once.
        defer_while(Waker::noop(), || self.rooms.leave_all(recipient));
        self.expiries.remove(state.id);
        if self.users.release(&state.uid, state.id) {
            self.cluster.release(&state.uid, state.id);
            // No newer connection of the user is left here that the seats could be kept for.
            if !state.outbox.is_replaced() {
                self.cluster.free_kept(&state.uid);
            }
        }
        self.relieve();
    }

    /// Records that the hooks of a connection that has ended have run, or never will.
    pub(crate) fn finish(&self, connection: &ConnectionState) {
        connection.memberships.forget();
        self.users.finish(&connection.uid, connection.id);
    }

    /// Whether this connection's first hook, which is `#[open]` or, in a session that another node has handed over,
    /// `#[resume]`, has to wait for hooks of earlier connections of the user.
    pub(crate) fn must_wait_for_hooks(&self, connection: &ConnectionState) -> bool {
        self.limits.duplicates != Duplicates::Allow && self.users.is_closing(&connection.uid)
    }

    /// Waits until the hooks of the connections of this user that have ended have run.
    pub(crate) async fn hooks_have_run(&self, connection: &ConnectionState) {
        self.users.closed(&connection.uid).await;
    }

    /// Forgets a connection whose task has ended, and with it the socket.
    pub(super) fn remove(&self, recipient: &dyn Recipient) {
        let state = recipient.state();
        state.outbox.detach(&self.fan_out.backlog);
        state.memberships.forget();
        self.users.remove(&state.uid, state.id);
    }
}
