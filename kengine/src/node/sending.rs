//! Sends to rooms, users and all connections: first to the connections of this node, then to other nodes.

use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;

use crate::node::Node;
use crate::node_state::deferred_wakes::defer_while;
use crate::node_state::sync::atomic::Ordering;
use crate::node_state::{
    Address, Asker, Audience, ClusterNode, ConnectionId, Duplicates, EncodedPush, Ending, HandOverStep, Limit, Load,
    LoopFault, LoopMessage, Member, NodeMessage, Presence, Reach, Recipient, Selection, SendError, SessionAsk,
};
use crate::protocol::{DisconnectReason, Push, Syntax, Uid};
use crate::websocket::Close;

impl Node {
    /// Sends a push to the selected connections at an address. Returns the number of connections of this node for which
    /// it was queued.
    pub(crate) fn send<P: Push + ?Sized>(
        &self,
        to: Address<&str>,
        selection: &Selection,
        push: &P,
    ) -> Result<usize, SendError> {
        let reaches_others = || selection.reach == Reach::Cluster && self.cluster.reaches(to);
        if let Address::Room(room) = to
            && !self.rooms.contains(room)
            && !reaches_others()
        {
            return Ok(0);
        }
        let (encoded, failure) = self.fan_out.encode(push)?;
        let passing = self.rooms.gate.pass();
        let (queued, lacks_frame) = self.deliver(to, &encoded, &selection.audience);
        let mut is_published = true;
        if self.may_be_elsewhere(to)
            && reaches_others()
            && let Some(audience) = selection.audience.for_other_nodes()
        {
            is_published = self.publish(to, NodeMessage::Push { push: encoded, audience });
        }
        drop(passing);
        self.relieve();
        match failure {
            Some(failure) if lacks_frame => Err(failure),
            _ if !is_published => Err(SendError::Unavailable),
            _ => Ok(queued),
        }
    }

    /// Closes every connection of a user. Returns how many of this node were closed.
    pub(crate) fn kick(&self, uid: &str, close: Close, reach: Reach) -> usize {
        let to = Address::User(uid);
        let kicked = self.kick_here(uid, &close);
        // Other nodes are told even if the user was here: a newer connection may have come to another node just now.
        let is_elsewhere = reach == Reach::Cluster && self.cluster.reaches(to);
        if is_elsewhere && !self.publish(to, NodeMessage::Kick(close)) {
            tracing::warn!(uid, "other nodes cannot be reached; the user is kicked only from this node");
        }
        kicked
    }

    /// Returns how many connections of this node the user has.
    pub(crate) fn connections_of(&self, uid: &str) -> usize {
        let mut connections = 0;
        self.users.for_each_of(uid, |recipient| connections += usize::from(!recipient.state().outbox.is_ending()));
        connections
    }

    /// Closes the connections with the largest outboxes until the backlog is under its limit. Returns whether one was
    /// closed.
    pub(crate) fn relieve(&self) -> bool {
        let mut has_closed = false;
        while self.fan_out.backlog.is_over() && !self.is_relieving.swap(true, Ordering::AcqRel) {
            let mut largest = (0, None);
            self.users.for_each_socket(|recipient| {
                let bytes = recipient.state().outbox.backlog();
                if bytes > largest.0 {
                    largest = (bytes, Some(Arc::clone(recipient)));
                }
            });
            // A swap instead of a store, so that the next iteration sees what was queued by tasks that found this one
            // relieving.
            self.is_relieving.swap(false, Ordering::AcqRel);
            let (bytes, Some(recipient)) = largest else { break };
            if recipient.state().outbox.shed(&self.fan_out.backlog) {
                has_closed = true;
                let id = recipient.state().id;
                self.refusals.record(Limit::TotalOutboxSize, &format_args!("connection {id} with {bytes} bytes"));
            }
        }
        has_closed
    }

    /// Queues a push for the connections of this node. Returns for how many it was queued, and whether the push has no
    /// frame in the syntax of a receiver.
    fn deliver(&self, to: Address<&str>, push: &EncodedPush, audience: &Audience) -> (usize, bool) {
        let (mut queued, mut lacks_frame) = (0, false);
        let deliver = |recipient: &Arc<dyn Recipient>| {
            if audience.includes(&**recipient) {
                match self.fan_out.send(&**recipient, push) {
                    Some(is_queued) => queued += usize::from(is_queued),
                    None => lacks_frame = true,
                }
            }
        };
        // The members on another thread are woken together.
        defer_while(Waker::noop(), || match to {
            Address::Room(room) => self.rooms.for_each_member(room, deliver),
            Address::User(uid) => self.users.for_each_of(uid, deliver),
            Address::Everybody => self.users.for_each(deliver),
        });
        (queued, lacks_frame)
    }

    /// Sends a message to other nodes. Returns whether the cluster accepted it.
    fn publish(&self, to: Address<&str>, message: NodeMessage) -> bool {
        let is_published = self.cluster.publish(to, message).is_ok();
        if !is_published {
            self.unpublished.fetch_add(1, Ordering::Relaxed);
        }
        is_published
    }

    /// Whether the address may have connections on other nodes. A user with a connection here has none elsewhere,
    /// unless users may have several.
    fn may_be_elsewhere(&self, to: Address<&str>) -> bool {
        let Address::User(uid) = to else { return true };
        self.limits.duplicates == Duplicates::Allow || self.connections_of(uid) == 0
    }

    /// Tells other nodes that a user is in a room here, because another node has announced that the user left: the user
    /// has moved to this node. If the user joins or leaves meanwhile, they are told of that last. How often that
    /// happens is bounded by the rate of joins.
    fn correct_presence(&self, room: &str, member: &Member) {
        let mut told = Presence::Joined;
        loop {
            let message = NodeMessage::Presence { presence: told, member: member.clone() };
            let _ = self.cluster.publish(Address::Room(room), message);
            let present = self.rooms.presence_of(room, &member.uid);
            if present == told {
                return;
            }
            told = present;
        }
    }

    /// Closes the connections of a user, and frees the seats that are kept for the user.
    fn kick_here(&self, uid: &str, close: &Close) -> usize {
        let mut recipients = Vec::new();
        self.users.for_each_of(uid, |recipient| recipients.push(Arc::clone(recipient)));
        let ending = Ending::Close(DisconnectReason::Server(close.clone()));
        let mut kicked = 0;
        for recipient in &recipients {
            if self.end(&**recipient, ending.clone()) {
                kicked += 1;
            } else {
                // It may be about to leave, because it was replaced.
                self.release(&**recipient);
            }
        }
        if let Ok(uid) = Uid::new(uid) {
            self.cluster.free_kept(&uid);
        }
        kicked
    }
}

impl ClusterNode for Node {
    fn receive(&self, from: &str, to: Address<&str>, message: &NodeMessage) {
        match (message, to) {
            (NodeMessage::Push { push, audience }, _) => {
                let shared = self.fan_out.share(push);
                let push = shared.as_ref().unwrap_or(push);
                // No connection is carried in between the question who ignores this and its delivery.
                let _passing = self.rooms.gate.pass();
                let except = self.moves.who_ignores(from);
                if except.is_empty() {
                    self.deliver(to, push, audience);
                } else {
                    let mut audience = audience.clone();
                    audience.except(except.into_iter().collect());
                    self.deliver(to, push, &audience);
                }
            }
            (NodeMessage::Presence { presence, member }, Address::Room(room)) => {
                let is_announced = {
                    let _passing = self.rooms.gate.pass();
                    self.rooms.announce(room, *presence, member, &self.moves.who_ignores(from))
                };
                if !is_announced && *presence == Presence::Left {
                    self.correct_presence(room, member);
                }
            }
            (NodeMessage::Kick(close), Address::User(uid)) => _ = self.kick_here(uid, close),
            (NodeMessage::Listed, Address::Room(room)) => self.rooms.set_listed(room),
            (NodeMessage::LoopIsFree, Address::Room(room)) => self.loop_is_free(room),
            (NodeMessage::LoopWasAlone, Address::Room(room)) => self.loop_was_alone(room),
            (
                NodeMessage::Presence { .. }
                | NodeMessage::Kick(_)
                | NodeMessage::Listed
                | NodeMessage::LoopIsFree
                | NodeMessage::LoopWasAlone,
                _,
            ) => {}
        }
        self.relieve();
    }

    fn lose_uid(&self, uid: &Uid, connection: ConnectionId, duplicates: Duplicates) {
        if let Some(recipient) = self.users.find(uid, connection) {
            // One whose player is away has not kept the uid: it is replaced.
            let is_away = recipient.state().silence.is_resting();
            let ending =
                if is_away { Ending::Close(DisconnectReason::Replaced) } else { Ending::of_duplicate(duplicates) };
            self.end(&*recipient, ending);
        }
    }

    fn members(&self, room: &str) -> Vec<Member> {
        self.rooms.members(room)
    }

    fn listing(&self, room: &str) -> (usize, Option<Arc<str>>) {
        self.rooms.listing(room)
    }

    fn listed_rooms(&self) -> Vec<Arc<str>> {
        self.rooms.listed()
    }

    fn is_listed(&self, room: &str) -> bool {
        self.rooms.is_listed(room)
    }

    fn syntaxes(&self) -> &[&'static Syntax] {
        &self.fan_out.syntaxes
    }

    fn load(&self) -> Load {
        Load {
            connections: self.connected.load(Ordering::Relaxed),
            rooms: self.rooms.len(),
            messages: self.counters.iter().map(|counters| counters.total()).sum(),
        }
    }

    fn receive_for_loop(&self, from: &str, room: &str, message: LoopMessage) {
        self.deliver_to_loop(from, room, message);
    }

    fn receive_from_loop(&self, number: u64, answer: Result<Bytes, LoopFault>) {
        self.loop_answered(number, answer);
    }

    fn asked_for_session(&self, asker: Asker, ask: SessionAsk) {
        self.pass_on_ask(&asker, ask);
    }

    fn receive_step(&self, from: &str, number: u64, step: HandOverStep, is_own: bool) {
        self.take_step(from, number, step, is_own);
    }
}
