//! How a session comes from the node that has it, because its player has come to this one. `node_state/hand_over.rs`
//! shows the steps.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes};
use tokio::time::timeout;

use crate::connection::endpoint::Endpoint;
use crate::dispatch::Dispatcher;
use crate::handles::Connection;
use crate::node::Node;
use crate::node::hand_over::AwaitedHandOver;
use crate::node_state::{HandOverStep, HandOvers, SessionAsk, SessionOffer, StoredSession, call_catching};
use crate::protocol::resumption::{Exchange, ResumeRequest};
use crate::protocol::{Session, Uid, logged};
use crate::websocket::Close;

/// How long the other node may take to offer the session: the handler that runs there may take as long.
const OFFER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may take until the messages to the rooms reach this node, and the seats in them are taken.
const ROOMS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the other node may take to give the session away. It takes it back only later.
const GIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// What became of a session that another node has.
pub(crate) enum TakeOver<S> {
    /// It goes on here.
    Carried(Box<CarriedSession<S>>),
    /// It cannot be resumed.
    Refused,
    /// It was closed meanwhile.
    Closed(Close),
    /// The socket is not served: the client has come to another node meanwhile, or this node cuts every connection off.
    Dropped,
}

/// A session that has come from another node.
pub(crate) struct CarriedSession<S> {
    pub(super) connection: Connection<S>,
    pub(super) exchange: Exchange,
}

/// The rooms whose messages reach this node. Dropping it ends that, unless the rooms have members.
struct HeldRooms<'h> {
    hand_overs: &'h dyn HandOvers,
    names: Vec<String>,
}

impl<'h> HeldRooms<'h> {
    fn hold(hand_overs: &'h dyn HandOvers, names: Vec<String>) -> Self {
        for room in &names {
            hand_overs.hold(room);
        }
        Self { hand_overs, names }
    }
}

impl Drop for HeldRooms<'_> {
    fn drop(&mut self) {
        for room in &self.names {
            self.hand_overs.let_go(room);
        }
    }
}

/// A connection that is carried in. Unless it is kept, dropping it takes the connection out again.
struct Arriving<'a, S: Session> {
    node: &'a Node,
    connection: Option<Connection<S>>,
    /// Whether this node has to announce that the user has left.
    announces: bool,
}

impl<S: Session> Drop for Arriving<'_, S> {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            self.node.give_carried_up(connection.as_recipient(), self.announces);
        }
    }
}

/// Takes a session over from the node that has given the client its token, for a client that this node has accepted
/// with this uid, or as a guest. Each wait is bounded.
pub(crate) async fn take_over<D: Dispatcher>(
    endpoint: &Endpoint<D>,
    uid: Option<Uid>,
    request: ResumeRequest,
    peer: Option<SocketAddr>,
) -> TakeOver<D::Session> {
    tokio::select! {
        biased;
        () = endpoint.node.abandoned() => TakeOver::Dropped,
        taken = carry(endpoint, uid, request, peer) => taken,
    }
}

/// Takes a session over. May be dropped at any time.
async fn carry<D: Dispatcher>(
    endpoint: &Endpoint<D>,
    uid: Option<Uid>,
    request: ResumeRequest,
    peer: Option<SocketAddr>,
) -> TakeOver<D::Session> {
    let node = &endpoint.node;
    let (Some(hand_overs), Some(codec)) = (node.hand_overs(), endpoint.codec) else { return TakeOver::Refused };
    let mut steps = node.await_hand_over();
    let ResumeRequest { tag, token, received } = request;
    let ask = SessionAsk { token, received, uid };
    let asking = async {
        let is_asked = hand_overs.ask(tag, steps.connection.0, ask).await;
        if is_asked { steps.next().await } else { None }
    };
    let (old_node, mut offer) = match timeout(OFFER_TIMEOUT, asking).await {
        Ok(Some((old_node, HandOverStep::Offered(offer)))) => (old_node, offer),
        Ok(Some((_, HandOverStep::Superseded))) => return TakeOver::Dropped,
        _ => return TakeOver::Refused,
    };
    let session = match call_catching(|| codec.read::<D::Session>(&offer.session)) {
        Ok(Ok(session)) => session,
        Ok(Err(error)) => {
            tracing::error!(error = logged(&error), "the session of another node cannot be read");
            return TakeOver::Refused;
        }
        // The panic is logged.
        Err(_) => return TakeOver::Refused,
    };
    let connection = Connection::carried(
        Arc::clone(node),
        (steps.connection, offer.uid.clone()),
        session,
        peer,
        const { &D::SYNTAX },
    );
    match enter(node, hand_overs, (&old_node, &mut offer), &connection, &mut steps).await {
        Ok(()) => {}
        Err(Missing::Superseded) => return TakeOver::Dropped,
        Err(Missing::Refused | Missing::NotGiven) => return TakeOver::Refused,
    }
    let mut arriving = Arriving { node, connection: Some(connection), announces: false };
    match receive(node, &mut steps, hand_overs, (&old_node, &offer), &mut arriving.announces).await {
        Ok(messages) => {
            let exchange =
                arriving.connection.as_ref().and_then(|connection| begin(node, connection, messages, received));
            if let Some(exchange) = exchange
                && let Some(connection) = arriving.connection.take()
            {
                return TakeOver::Carried(Box::new(CarriedSession { connection, exchange }));
            }
            // Never happens between nodes of one version of kengine.
            tracing::error!("the messages of a session of another node cannot be read");
            arriving.announces = true;
        }
        Err(Missing::Refused) => arriving.announces = true,
        // The other node still has the session.
        Err(Missing::Superseded) => return TakeOver::Dropped,
        Err(Missing::NotGiven) => {}
    }
    let close = arriving.connection.as_ref().and_then(|connection| connection.state().outbox.close_order());
    close.and_then(|reason| reason.close_frame()).map_or(TakeOver::Refused, TakeOver::Closed)
}

/// Why the session does not come.
enum Missing {
    Refused,
    Superseded,
    /// This node cannot take it, or the other one has not given it in time, and cannot do so any more.
    NotGiven,
}

/// Joins the rooms of the session, unless the other node has changed its mind meanwhile.
async fn enter<S: Session>(
    node: &Arc<Node>,
    hand_overs: &dyn HandOvers,
    (old_node, offer): (&str, &mut SessionOffer),
    connection: &Connection<S>,
    steps: &mut AwaitedHandOver,
) -> Result<(), Missing> {
    let rooms = std::mem::take(&mut offer.rooms);
    let _held = HeldRooms::hold(hand_overs, rooms.iter().map(|room| room.name.clone()).collect());
    let entering = async {
        let mut seated = Vec::with_capacity(rooms.len());
        for room in rooms {
            node.cluster.subscribed(&room.name).await.ok()?;
            let seat = node.rooms.take_carried_seat(&room, connection.as_recipient()).await.ok()?;
            seated.push((room, seat));
        }
        Some(seated)
    };
    let Ok(Some(rooms)) = timeout(ROOMS_TIMEOUT, entering).await else { return Err(Missing::NotGiven) };
    match steps.next_if_there() {
        Some((_, HandOverStep::Superseded)) => return Err(Missing::Superseded),
        Some(_) => return Err(Missing::Refused),
        None => {}
    }
    let expires = offer.expires.map(at);
    let is_carried = node.carry_in(&connection.to_recipient(), (old_node, offer), rooms, expires);
    if is_carried { Ok(()) } else { Err(Missing::NotGiven) }
}

/// Waits until the other node has given the session away, and returns its messages. Sets meanwhile whether this node
/// `announces` that the user has left if it does not get further.
async fn receive(
    node: &Node,
    steps: &mut AwaitedHandOver,
    hand_overs: &dyn HandOvers,
    (old_node, offer): (&str, &SessionOffer),
    announces: &mut bool,
) -> Result<Bytes, Missing> {
    let is_stored = match timeout(GIVE_TIMEOUT, steps.next()).await {
        Ok(Some((_, HandOverStep::Refused))) => return Err(Missing::Refused),
        Ok(Some((_, HandOverStep::Superseded))) => return Err(Missing::Superseded),
        Ok(step) => step.is_some(),
        Err(_) => false,
    };
    // From now on the other node may take the session to be here.
    *announces = true;
    match hand_overs.take(steps.connection, old_node, offer).await {
        Ok(StoredSession::Messages(messages)) => {
            if !is_stored && timeout(GIVE_TIMEOUT, steps.next()).await.is_err() {
                // The bus was lost meanwhile, and with it where the messages of the other node end.
                node.hear(steps.connection);
            }
            Ok(messages)
        }
        Ok(StoredSession::Taken | StoredSession::Absent) => {
            *announces = false;
            Err(Missing::NotGiven)
        }
        Err(_) => Err(Missing::Refused),
    }
}

/// Returns the exchange for a client that has received this many messages. Goes on with its questions, and extends the
/// session if that is due.
fn begin<S>(node: &Node, connection: &Connection<S>, mut messages: Bytes, received: u64) -> Option<Exchange> {
    let (expires, asked) = (messages.try_get_u64().ok()?, messages.try_get_u64().ok()?);
    let mut exchange = Exchange::from_bytes(messages)?;
    if !exchange.resume(received, connection.state().outbox.waiting_keys()) {
        return None;
    }
    // Nobody has asked here, because no code has got the connection yet.
    connection.state().questions.go_on_after(asked);
    if expires != u64::MAX {
        // Fails only if the session has ended meanwhile.
        let _ = node.extend(connection.state(), at(expires));
    }
    Some(exchange)
}

/// Returns the time that is so many milliseconds after 1970.
fn at(milliseconds: u64) -> SystemTime {
    // A time that the system cannot represent is as good as never.
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds));
    at.unwrap_or_else(|| SystemTime::now() + Duration::from_secs(365 * 24 * 60 * 60))
}
