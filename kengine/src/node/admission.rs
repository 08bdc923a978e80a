//! Admission of connections: a slot is taken before the handshake and given back when the socket is closed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::http::ReservationId;
use crate::node::Node;
use crate::node_state::sync::atomic::Ordering;
use crate::node_state::{ClaimOutcome, ClientAddress, ConnectionId, Duplicates, Limit, Recipient, Sent, Silence};

/// Why a node takes no more connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Limit(Limit),
    Draining,
}

/// A slot of a node that is held for a handshake that is being accepted.
pub(crate) struct Slot {
    held: HeldSlot,
    /// The gateway's reservation for this handshake, if there is one.
    reservation: Option<Reservation>,
    /// When the session expires, if it does.
    expires: Option<SystemTime>,
    /// The limit that this slot exceeds until the connection that it is for gives its own slot back.
    exceeds: Option<Limit>,
}

/// The registration of a connection, with its slot. It belongs to the connection's socket. Dropping it removes the
/// connection from the node.
pub(crate) struct Registration {
    recipient: Arc<dyn Recipient>,
    held: HeldSlot,
}

/// One of the node's slots, given back when it is dropped.
pub(crate) struct HeldSlot {
    node: Arc<Node>,
    /// The address whose connections this one counts to, unless the client has no limits.
    address: Option<ClientAddress>,
}

/// A reservation that a gateway made when it chose this node for a player. It counts as load until it is dropped, which
/// redeems it. It is dropped after the connection has been counted, or when the handshake fails.
pub(crate) struct Reservation {
    id: ReservationId,
    node: Arc<Node>,
}

impl Node {
    /// Takes over a gateway's reservation.
    pub(crate) fn reservation(self: &Arc<Self>, id: ReservationId) -> Reservation {
        Reservation { id, node: Arc::clone(self) }
    }

    /// Counts a request to open a connection. `client` is the client's address if it has limits.
    pub(crate) fn count_request(&self, client: Option<IpAddr>) -> Result<(), Refused> {
        let Some(ip) = client else { return Ok(()) };
        self.addresses.request(ip.into()).map_err(|limit| {
            self.refusals.record(limit, &ip);
            Refused::Limit(limit)
        })
    }

    /// Takes a slot for a handshake, so that the node never exceeds its maximum. `client` is the client's address if it
    /// has limits. A client that seems to come back to its own session (`is_back`) may exceed the limits of
    /// connections, because it will give back the slot of the session.
    pub(crate) fn take_slot(
        self: &Arc<Self>,
        reservation: Option<Reservation>,
        client: Option<IpAddr>,
        is_back: bool,
    ) -> Result<Slot, Refused> {
        let address = client.map(ClientAddress::from);
        let counted = address.map_or(Ok(None), |address| self.addresses.connect(address, is_back));
        let taken = counted.map_err(Refused::Limit).and_then(|of_address| {
            let exceeds = self
                .count_slot(is_back)
                .inspect_err(|_| address.into_iter().for_each(|address| self.addresses.disconnect(address)))?;
            Ok(of_address.or(exceeds))
        });
        if let Err(Refused::Limit(limit)) = taken {
            match &client {
                Some(ip) => self.refusals.record(limit, ip),
                None => self.refusals.record(limit, &"a client without limits"),
            }
        }
        taken.map(|exceeds| {
            let held = HeldSlot { node: Arc::clone(self), address };
            Slot { held, reservation, expires: None, exceeds }
        })
    }

    fn count_slot(&self, is_back: bool) -> Result<Option<Limit>, Refused> {
        let mut admission = self.admission.lock();
        if admission.ending.is_some() {
            return Err(Refused::Draining);
        }
        if !admission.handshakes.add(self.limits.max_handshakes_per_second, Sent::at(self.clock.now())) {
            return Err(Refused::Limit(Limit::HandshakesPerSecond));
        }
        let is_full = admission.slots >= self.limits.max_connections;
        if is_full && !is_back {
            return Err(Refused::Limit(Limit::Connections));
        }
        admission.slots += 1;
        Ok(is_full.then_some(Limit::Connections))
    }
}

impl Slot {
    /// Sets when the session expires, if it does.
    pub(crate) fn set_expiry(&mut self, expires: Option<SystemTime>) {
        self.expires = expires;
    }

    /// Checks that this slot exceeds no limit, because no session will give another one back.
    ///
    /// # Errors
    ///
    /// The limit that it exceeds.
    pub(crate) fn check(&self) -> Result<(), Refused> {
        self.exceeds.map_or(Ok(()), |limit| Err(Refused::Limit(limit)))
    }

    /// Registers a connection under its uid. Returns whether the connection gets the uid. If the node is draining, the
    /// connection is ordered to end at once.
    pub(crate) fn register(self, recipient: Arc<dyn Recipient>) -> (Registration, bool) {
        let Self { held, reservation, expires, .. } = self;
        let registration = Registration { recipient, held };
        let (node, recipient) = (&registration.held.node, &registration.recipient);
        node.connected.fetch_add(1, Ordering::Relaxed);
        node.cluster.load_changed();
        // Dropped only after the connection is counted. Otherwise the load would be too low for a moment, and gateways
        // would choose this node too often.
        drop(reservation);
        // Before others find the connection and can end it.
        if let Some(at) = expires
            && node.expiries.add(Arc::clone(recipient), at)
        {
            node.expiry_added.notify_one();
        }
        let duplicates = node.limits.duplicates;
        let claim = node.users.claim(Arc::clone(recipient), duplicates);
        let ending = node.admission.lock().ending.clone();
        if let Some(ending) = ending {
            recipient.state().outbox.end(ending);
        }
        let has_uid = match claim {
            ClaimOutcome::Granted { replaced, order } => {
                let state = recipient.state();
                if duplicates != Duplicates::Allow {
                    node.cluster.claim(&state.uid, state.id, order);
                }
                if state.memberships.have_ended() {
                    // The user was kicked meanwhile, perhaps before the claim.
                    node.cluster.release(&state.uid, state.id);
                }
                let has_replaced = !replaced.is_empty();
                for older in replaced {
                    node.replace(&*older);
                }
                if has_replaced && state.memberships.have_ended() && !state.outbox.is_replaced() {
                    // It ended before the seats of the older ones were kept for it.
                    node.cluster.free_kept(&state.uid);
                }
                true
            }
            ClaimOutcome::Refused => false,
        };
        (registration, has_uid)
    }

    /// Registers a connection whose session has come from another node, and which [has its uid](Node::carry_in)
    /// already.
    pub(crate) fn register_carried(self, recipient: Arc<dyn Recipient>) -> Registration {
        let Self { held, reservation, expires, .. } = self;
        let registration = Registration { recipient, held };
        let (node, state) = (&registration.held.node, registration.recipient.state());
        node.connected.fetch_add(1, Ordering::Relaxed);
        node.cluster.load_changed();
        drop(reservation);
        if let Some(until) = expires {
            // Fails only if the session ends meanwhile.
            let _ = node.extend(state, until);
        }
        registration
    }
}

impl Registration {
    /// Replaces the slot by that of another handshake, whose socket the connection has now. The connection's session is
    /// extended if that of the handshake expires later. Returns the earlier slot, which is kept until its socket is
    /// closed.
    pub(crate) fn replace_slot(&mut self, slot: Slot) -> HeldSlot {
        if let Some(until) = slot.expires {
            // Fails only if the session ends meanwhile.
            let _ = self.node().extend(self.recipient.state(), until);
        }
        std::mem::replace(&mut self.held, slot.held)
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.recipient.state().id
    }

    pub(crate) fn recipient(&self) -> &Arc<dyn Recipient> {
        &self.recipient
    }

    pub(crate) fn node_arc(&self) -> &Arc<Node> {
        &self.held.node
    }

    /// Records that the player is away.
    pub(crate) fn suspend(&self) {
        self.silence().rest();
        self.node().suspended.fetch_add(1, Ordering::Relaxed);
        self.tell_away(true);
    }

    /// Records that the player is back, or not awaited any more.
    pub(crate) fn end_suspension(&self) {
        if self.silence().end_rest(self.node().clock.now()) {
            self.node().suspended.fetch_sub(1, Ordering::Relaxed);
            self.tell_away(false);
        }
    }

    /// Tells the cluster whether the player is away, if that decides who has the uid.
    fn tell_away(&self, is_away: bool) {
        if self.node().limits.duplicates == Duplicates::Refuse {
            let state = self.recipient.state();
            self.node().cluster.set_away(&state.uid, state.id, is_away);
        }
    }

    pub(crate) fn node(&self) -> &Node {
        &self.held.node
    }

    /// Returns how long the client has been silent.
    pub(crate) fn silence(&self) -> &Silence {
        &self.recipient.state().silence
    }

    /// Makes sure that this connection is woken when the silence of its client must be checked, and ended when its
    /// session expires.
    pub(crate) fn watch(&self) {
        self.held.node.watch();
    }

    /// Records that a limit was exceeded for this connection.
    #[cold]
    pub(crate) fn record_refusal(&self, limit: Limit) {
        self.node().refusals.record_connection(limit, self.recipient.state().id);
    }

    /// Ends the connection, unless it has ended already: nothing more is sent to it, and it is in no room and has no
    /// seat and no uid from now on.
    pub(crate) fn end(&self) {
        self.end_suspension();
        self.recipient.state().outbox.shut(&self.node().fan_out.backlog);
        self.node().release(&*self.recipient);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // The connection has not ended yet if kengine itself panics in the connection's task.
        self.end();
        self.node().remove(&*self.recipient);
        self.node().connected.fetch_sub(1, Ordering::Relaxed);
        self.node().cluster.load_changed();
    }
}

impl Drop for HeldSlot {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            self.node.addresses.disconnect(address);
        }
        let mut admission = self.node.admission.lock();
        admission.slots -= 1;
        if admission.slots == 0 {
            self.node.emptied.notify_waiters();
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.node.cluster.redeem(self.id);
    }
}
