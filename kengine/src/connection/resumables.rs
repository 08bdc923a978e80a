//! The sessions of an endpoint that can be resumed, by their tokens; and the clients that come back to them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::connection::departures::{Departure, DepartureStage, Departures};
use crate::connection::transport::Transport;
use crate::node::Node;
use crate::node::admission::Slot;
use crate::node_state::{Asker, ConnectionId, HandOverStep, NoSession, Recipient, SessionAsk, SessionHolder};
use crate::protocol::Uid;
use crate::protocol::resumption::{ResumeRequest, Token, Tokens};

/// The sessions of an endpoint that can be resumed.
pub(crate) struct Resumables {
    /// How long a session waits for its player.
    pub(crate) within: Duration,
    /// Whether they may be handed over to other nodes.
    pub(super) hands_over: bool,
    node: Arc<Node>,
    table: Mutex<ResumableTable>,
}

#[derive(Default)]
struct ResumableTable {
    /// The connections whose sessions can be resumed, by the keys of their tokens. Only the connection's task knows the
    /// whole tokens. A tree, because its memory grows and shrinks with the number of sessions.
    connections: BTreeMap<u64, Arc<dyn Recipient>>,
    /// Clients that have come back, until the task of their connection takes them.
    arrivals: HashMap<ConnectionId, Arrival>,
    /// The sessions that other nodes have asked for.
    departures: Departures,
}

/// Whether the client of a new session can resume it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resumability {
    /// It cannot.
    Never,
    /// It can.
    New,
    /// It can. It wanted to resume another session, but that cannot be.
    Instead,
}

/// A client that comes back, with its new socket.
pub(crate) struct Arrival {
    socket: NewSocket,
    request: ResumeRequest,
    /// Gets the socket back if the session cannot be resumed.
    refused: oneshot::Sender<Option<NewSocket>>,
}

/// A new socket for a session, which may have been accepted by another thread.
pub(crate) struct NewSocket {
    transport: Moving,
    slot: Slot,
    /// What came right after the handshake.
    received: Vec<u8>,
}

/// A transport on its way to another runtime.
enum Moving {
    Tcp(std::net::TcpStream),
    Other(Transport),
}

impl NewSocket {
    /// Takes a transport out of the current runtime.
    ///
    /// # Errors
    ///
    /// The runtime cannot give the socket up.
    pub(crate) fn new(transport: Transport, slot: Slot, received: Vec<u8>) -> io::Result<Self> {
        let transport = match transport {
            Transport::Tcp(stream) => Moving::Tcp(stream.into_std()?),
            other @ Transport::Other(_) => Moving::Other(other),
        };
        Ok(Self { transport, slot, received })
    }

    /// Returns the transport in the current runtime, the slot, and what came right after the handshake.
    ///
    /// # Errors
    ///
    /// The runtime cannot wait for the socket, for example because the kernel lacks memory.
    pub(crate) fn into_parts(self) -> io::Result<(Transport, Slot, Vec<u8>)> {
        let transport = match self.transport {
            Moving::Tcp(stream) => Transport::Tcp(TcpStream::from_std(stream)?),
            Moving::Other(transport) => transport,
        };
        Ok((transport, self.slot, self.received))
    }
}

impl Arrival {
    /// Returns what the client has said.
    pub(super) fn request(&self) -> ResumeRequest {
        self.request
    }

    /// Tells who waits that the session goes on over the new socket, and returns the socket.
    pub(super) fn accept(self) -> NewSocket {
        // Nobody waits if the runtime ends.
        let _ = self.refused.send(None);
        self.socket
    }

    /// Gives the socket back, because the session cannot be resumed.
    pub(super) fn refuse(self) {
        let _ = self.refused.send(Some(self.socket));
    }
}

impl Resumables {
    pub(crate) fn new(within: Duration, node: Arc<Node>, hands_over: bool) -> Self {
        Self { within, hands_over, node, table: Mutex::default() }
    }

    /// Whether a session may be resumed with this token.
    pub(crate) fn has(&self, token: Token) -> bool {
        self.table.lock().connections.contains_key(&token.key())
    }

    /// Whether a session may be resumed with this token by the player of another session, which has this uid.
    pub(crate) fn belongs_to(&self, token: Token, uid: Option<&Uid>) -> bool {
        let recipient = self.table.lock().connections.get(&token.key()).cloned();
        // The user's code is called without the lock.
        recipient.is_some_and(|recipient| match uid {
            Some(uid) => !recipient.is_guest() && recipient.state().uid == *uid,
            None => recipient.is_guest(),
        })
    }

    /// Hands a socket over to the session that can be resumed with the token of this request. Returns the socket if the
    /// session cannot be resumed.
    pub(crate) async fn resume(&self, request: ResumeRequest, socket: NewSocket) -> Option<NewSocket> {
        let (refused, answer) = oneshot::channel();
        {
            let mut table = self.table.lock();
            let Some(recipient) = table.connections.get(&request.token.key()).cloned() else { return Some(socket) };
            // If the client has come twice, it has given up the earlier socket.
            table.arrivals.insert(recipient.state().id, Arrival { socket, request, refused });
            drop(table);
            recipient.state().outbox.summon();
        }
        // Fails if the client has come again meanwhile.
        answer.await.ok().flatten()
    }

    /// Makes the session of a connection resumable with new tokens. Returns the text of the last one.
    pub(super) fn add(&self, tokens: &Tokens, recipient: &Arc<dyn Recipient>) -> String {
        self.table.lock().connections.extend(tokens.valid().map(|token| (token.key(), Arc::clone(recipient))));
        tokens.last().text(self.node.tag)
    }

    /// Makes a token invalid.
    pub(super) fn forget(&self, token: Token) {
        self.table.lock().connections.remove(&token.key());
    }

    /// Returns the client that has come back to a connection, if one has.
    pub(super) fn take_arrival(&self, id: ConnectionId) -> Option<Arrival> {
        let mut table = self.table.lock();
        let arrival = table.arrivals.remove(&id);
        if table.arrivals.is_empty() {
            table.arrivals = <_>::default();
        }
        arrival
    }

    /// Forgets a connection whose session cannot be resumed any more.
    pub(super) fn remove(&self, tokens: &Tokens) {
        let (id, arrival, departure, _removed) = {
            let mut table = self.table.lock();
            let removed = table.remove_tokens(tokens);
            let Some(id) = removed.iter().flatten().next().map(|recipient| recipient.state().id) else { return };
            // A connection is not dropped while the lock is held.
            (id, table.arrivals.remove(&id), table.departures.remove(id), removed)
        };
        if let Some(arrival) = arrival {
            arrival.refuse();
        }
        if let Some(departure) = departure {
            self.refuse(id, &departure);
        }
    }

    /// Tells the node that has asked for a session that it does not get it.
    fn refuse(&self, id: ConnectionId, departure: &Departure) {
        match departure.stage {
            DepartureStage::Asked(..) | DepartureStage::Offered(_) => {
                self.node.tell(&departure.asker, HandOverStep::Refused);
            }
            DepartureStage::LetGo(_) => {
                self.node.hear(id);
                self.node.tell(&departure.asker, HandOverStep::Refused);
            }
            DepartureStage::Given | DepartureStage::Taken => {}
        }
    }

    /// Calls this with the sessions that other nodes have asked for.
    pub(super) fn with_departures<T>(&self, call: impl FnOnce(&mut Departures) -> T) -> T {
        call(&mut self.table.lock().departures)
    }

    /// Records that this node has parted with a session.
    pub(super) fn given(&self, id: ConnectionId, tokens: &Tokens) {
        let _removed = {
            let mut table = self.table.lock();
            table.departures.give(id);
            table.remove_tokens(tokens)
        };
    }

    /// Ends the hand-over of a session, unless it is too late for that: then this returns `false`. Whoever has asked
    /// for it is told, by this step if the client has come to this node instead.
    pub(super) fn cancel_departure(&self, id: ConnectionId, step: HandOverStep) -> bool {
        let Ok(cancelled) = self.with_departures(|departures| departures.cancel(id)) else { return false };
        if let Some(departure) = cancelled {
            self.node.tell(&departure.asker, step);
        }
        true
    }
}

impl ResumableTable {
    /// Makes tokens invalid. Returns the connections that they were for, which must not be dropped while the lock is
    /// held.
    fn remove_tokens(&mut self, tokens: &Tokens) -> Vec<Option<Arc<dyn Recipient>>> {
        tokens.valid().map(|token| self.connections.remove(&token.key())).collect()
    }
}

impl SessionHolder for Resumables {
    fn ask(&self, asker: Asker, ask: SessionAsk) -> Result<Option<Asker>, NoSession> {
        let SessionAsk { token, received, uid } = ask;
        if !self.belongs_to(token, uid.as_ref()) {
            return Err(NoSession);
        }
        let (recipient, earlier) = {
            let mut table = self.table.lock();
            let recipient = table.connections.get(&token.key()).cloned().ok_or(NoSession)?;
            let earlier = table.departures.begin(Departure::new(asker, Arc::clone(&recipient), token, received))?;
            (recipient, earlier)
        };
        recipient.state().outbox.summon();
        Ok(earlier.map(|earlier| earlier.asker))
    }

    fn let_go(&self, connection: ConnectionId, asker: &Asker) -> bool {
        let session = self.with_departures(|departures| departures.let_go(connection, asker));
        session.map(|recipient| recipient.state().outbox.summon()).is_some()
    }

    fn was_taken(&self, connection: ConnectionId, asker: &Asker) {
        let session = self.with_departures(|departures| departures.was_taken(connection, asker));
        if let Some(recipient) = session {
            recipient.state().outbox.summon();
        }
    }
}

impl fmt::Debug for Resumables {
    /// Omits the tokens, which are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resumables").field("within", &self.within).finish_non_exhaustive()
    }
}
