//! The model checks of a node: who has a uid, and how a drain ends, in whatever order threads take their steps.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use loom::future::block_on;
use loom::thread;

use crate::node::Node;
use crate::node::admission::{Refused, Registration};
use crate::node_state::model::{BareConnection, ToldCluster, limits};
use crate::node_state::sync::atomic::{AtomicBool, Ordering};
use crate::node_state::sync::model::explore;
use crate::node_state::{
    Address, Cluster, ClusterNode, ConnectionId, Duplicates, Ending, JoinCluster, JoinRequest, Limits, Member,
    NodeInfo, NodeMessage, Occupants, Presence, Reach, Recipient, RoomQuery, SeatPlace, SeatWish, Seated, WhenAway,
};
use crate::protocol::{DisconnectReason, StartError, Syntax};
use crate::websocket::{Close, CloseCode};

/// Joins the cluster that remembers what it is told.
struct JoinTold(Arc<ToldCluster>);

impl fmt::Debug for JoinTold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinTold")
    }
}

impl JoinCluster for JoinTold {
    fn join(&self, _: NodeInfo) -> Result<Arc<dyn Cluster>, StartError> {
        Ok(self.0.clone())
    }
}

/// A node, and what it tells its cluster.
#[derive(Clone)]
struct ToldNode {
    node: Arc<Node>,
    told: Arc<ToldCluster>,
}

impl ToldNode {
    fn new(limits: Limits) -> Self {
        let told = Arc::<ToldCluster>::default();
        let cluster = JoinTold(Arc::clone(&told));
        let node = Node::new(limits, vec![&Syntax::DEFAULT], vec![], &cluster, None, String::new()).unwrap();
        Self { node, told }
    }

    fn with(duplicates: Duplicates) -> Self {
        Self::new(Limits { duplicates, ..limits() })
    }

    fn register(&self, connection: &Arc<dyn Recipient>) -> Result<(Registration, bool), Refused> {
        self.register_until(connection, None)
    }

    fn register_until(
        &self,
        connection: &Arc<dyn Recipient>,
        expires: Option<SystemTime>,
    ) -> Result<(Registration, bool), Refused> {
        let mut slot = self.node.take_slot(None, None, false)?;
        slot.set_expiry(expires);
        Ok(slot.register(Arc::clone(connection)))
    }

    /// Returns the connections that have the uid and were not ordered to end.
    fn holders(&self) -> Vec<ConnectionId> {
        let mut ids = Vec::new();
        self.node.users.for_each(|recipient| {
            if !recipient.state().outbox.is_ending() {
                ids.push(recipient.state().id);
            }
        });
        ids
    }

    fn claims(&self) -> Vec<ConnectionId> {
        self.told.with(|told| told.claims.values().flatten().copied().collect())
    }

    /// Nothing is left of the connections, whose sockets are closed.
    fn check_empty(&self) {
        let mut left = 0;
        self.node.users.for_each_socket(|_| left += 1);
        assert_eq!((left, self.node.connections(), self.node.rooms.len()), (0, 0, 0));
        assert_eq!(self.claims(), [], "claims are left in the cluster");
        assert_eq!(self.node.fan_out.backlog.bytes(), 0);
        assert_eq!(self.node.expiries.next(), None, "the session of a connection that has ended is left");
    }
}

/// Serves a connection until it is ordered to end, as its task does, and closes its socket.
fn serve(registration: Registration, connection: &dyn Recipient) -> Ending {
    let backlog = &registration.node().fan_out.backlog;
    let outbox = &connection.state().outbox;
    let mut out = Vec::new();
    let ending = block_on(poll_fn(|cx| match outbox.take(cx, &mut out, backlog, |_| true) {
        Some(ending) => Poll::Ready(ending),
        None => Poll::Pending,
    }));
    registration.end();
    drop(registration);
    ending
}

fn close() -> Close {
    Close::from(CloseCode::KICKED)
}

/// Of two connections of one uid that register at the same time, one is replaced and ordered to end.
#[test]
fn one_connection_replaces_the_other() {
    explore("duplicates: replace", || {
        let node = ToldNode::with(Duplicates::Replace);
        let connect = |id: u64| {
            let node = node.clone();
            move || {
                let connection = BareConnection::create(id, "ada");
                node.register(&connection).unwrap()
            }
        };
        let other = thread::spawn(connect(1));
        let (registration, has_uid) = connect(2)();
        let (other, other_has_uid) = other.join().unwrap();
        assert!(has_uid && other_has_uid, "both had the uid for a moment");
        let holders = node.holders();
        assert_eq!(holders.len(), 1, "one connection has the uid: {holders:?}");
        assert_eq!(node.claims(), holders);
        drop((registration, other));
        node.check_empty();
    });
}

/// The next connection of a user waits until the hooks of the one that it replaces have run, and never misses that. It
/// finds the room and the seat free, whether it replaces the older one or that one ends by itself.
#[test]
fn the_next_connection_waits_for_the_hooks() {
    explore("hooks: the next connection", || {
        let node = ToldNode::with(Duplicates::Replace);
        let old = BareConnection::create(1, "ada");
        let (registration, _) = node.register(&old).unwrap();
        let guard = || Box::new(|inside: Occupants<'_>| Ok(assert!(inside.is_empty())));
        let request = || JoinRequest { listens: false, guard: guard(), seat: None };
        node.node.rooms.join("lobby", &old, request()).unwrap();
        let have_run = Arc::new(AtomicBool::new(false));
        let ending = thread::spawn({
            let (node, have_run) = (node.clone(), Arc::clone(&have_run));
            move || {
                registration.end();
                have_run.store(true, Ordering::Relaxed);
                node.node.finish(old.state());
                drop(registration);
            }
        });
        let new = BareConnection::create(2, "ada");
        let (registration, has_uid) = node.register(&new).unwrap();
        assert!(has_uid);
        // Waits for ever if it misses the end, which loom reports.
        block_on(node.node.hooks_have_run(new.state()));
        assert!(have_run.load(Ordering::Relaxed), "the hooks have not run");
        node.node.rooms.join("lobby", &new, request()).unwrap();
        ending.join().unwrap();
        assert_eq!((node.holders(), node.claims()), (vec![ConnectionId(2)], vec![ConnectionId(2)]));
        drop(registration);
        node.check_empty();
    });
}

/// Of two connections of one uid that register at the same time, one is refused. After the end of the holder, the uid
/// is free.
#[test]
fn one_connection_is_refused() {
    explore("duplicates: refuse", || {
        let node = ToldNode::with(Duplicates::Refuse);
        let connect = |id: u64| {
            let node = node.clone();
            move || {
                let connection = BareConnection::create(id, "ada");
                node.register(&connection).unwrap()
            }
        };
        let other = thread::spawn(connect(1));
        let (registration, has_uid) = connect(2)();
        let (other, other_has_uid) = other.join().unwrap();
        assert!(has_uid != other_has_uid, "one connection gets the uid");
        let holder = ConnectionId(if has_uid { 2 } else { 1 });
        assert_eq!((node.holders(), node.claims()), (vec![holder], vec![holder]));
        drop((registration, other));
        node.check_empty();
        assert!(node.register(&BareConnection::create(3, "ada")).unwrap().1);
    });
}

/// A connection that comes while the earlier one of its uid ends gets the uid, or is refused because the earlier one
/// has not ended. If the earlier one has ended, its late release takes nothing from the new one.
#[test]
fn a_uid_is_passed_on_at_the_end() {
    explore("duplicates: the end of the holder", || {
        let node = ToldNode::with(Duplicates::Refuse);
        let old = BareConnection::create(1, "ada");
        let (registration, _) = node.register(&old).unwrap();
        let ending = thread::spawn(move || drop(registration));
        let new = BareConnection::create(2, "ada");
        let (registration, has_uid) = node.register(&new).unwrap();
        ending.join().unwrap();
        let holders = if has_uid { vec![ConnectionId(2)] } else { vec![] };
        assert_eq!((node.holders(), node.claims()), (holders.clone(), holders));
        drop(registration);
        node.check_empty();
    });
}

/// A session that is extended while it expires lasts until the new time, or has ended.
#[test]
fn a_session_is_extended_or_ends() {
    explore("expiry: extended while it expires", || {
        let node = ToldNode::with(Duplicates::Replace);
        let ada = BareConnection::create(1, "ada");
        let at = SystemTime::now() + Duration::from_secs(3600);
        let (registration, _) = node.register_until(&ada, Some(at)).unwrap();
        let expiring = thread::spawn({
            let node = node.clone();
            move || {
                for expired in node.node.expiries.take_expired(at) {
                    node.node.end(&*expired, Ending::Close(DisconnectReason::Expired));
                }
            }
        });
        let is_extended = node.node.extend(ada.state(), at + Duration::from_secs(1)).is_ok();
        expiring.join().unwrap();
        assert_eq!(is_extended, !ada.state().outbox.is_ending());
        drop(registration);
        node.check_empty();
    });
}

/// The session of a connection that is kicked while it registers is forgotten.
#[test]
fn a_session_ends_with_its_connection() {
    explore("expiry: kick during a registration", || {
        let node = ToldNode::with(Duplicates::Replace);
        let kicking = thread::spawn({
            let node = node.clone();
            move || node.node.kick("ada", close(), Reach::Node)
        });
        let ada = BareConnection::create(1, "ada");
        let at = SystemTime::now() + Duration::from_secs(3600);
        let (registration, _) = node.register_until(&ada, Some(at)).unwrap();
        let is_kicked = kicking.join().unwrap() > 0;
        assert_eq!(node.node.expiries.next(), (!is_kicked).then_some(at));
        drop(registration);
        node.check_empty();
    });
}

/// A kick while a newer connection takes the place of the one with a seat frees the seat, unless the newer connection
/// came after it.
#[test]
fn a_player_who_is_kicked_keeps_no_seat() {
    explore("ending: kick while a seat is handed over", || {
        let node = ToldNode::with(Duplicates::Replace);
        let old = BareConnection::create(1, "ada");
        let (registration, _) = node.register(&old).unwrap();
        let place = SeatPlace::Room { name: "table", family: None };
        let wish = SeatWish { place, seats: 1, when_away: WhenAway::Refuse };
        let Ok(Seated::Now(granted)) = block_on(node.node.rooms.take_seat(&*old, wish)) else { panic!("no seat") };
        let request = JoinRequest { listens: false, guard: Box::new(|_| Ok(())), seat: Some(granted) };
        node.node.rooms.join("table", &old, request).unwrap();
        let kicking = thread::spawn({
            let node = node.clone();
            move || node.node.kick("ada", close(), Reach::Node)
        });
        let new = BareConnection::create(2, "ada");
        let (newer, _) = node.register(&new).unwrap();
        kicking.join().unwrap();
        if new.state().outbox.is_ending() {
            let query = RoomQuery { prefix: "", after: "", max: 1, with_free_seats: false };
            let page = block_on(node.told.list(query)).unwrap();
            assert!(page.rooms.is_empty(), "the seat is kept for a player who was kicked");
        }
        drop((registration, newer));
        node.check_empty();
    });
}

/// A kick during a registration ends the connection, which then has no uid and can join no room, or comes before it.
#[test]
fn a_kick_ends_a_connection_that_registers() {
    explore("duplicates: kick during a registration", || {
        let node = ToldNode::with(Duplicates::Replace);
        let kicking = thread::spawn({
            let node = node.clone();
            move || node.node.kick("ada", close(), Reach::Node)
        });
        let ada = BareConnection::create(1, "ada");
        let (registration, has_uid) = node.register(&ada).unwrap();
        assert!(has_uid);
        let request = JoinRequest { listens: false, guard: Box::new(|_| Ok(())), seat: None };
        let joined = node.node.rooms.join("lobby", &ada, request);
        let kicked = kicking.join().unwrap();
        let is_in_the_room = node.node.rooms.contains("lobby");
        if kicked == 0 {
            assert_eq!((node.holders(), node.claims()), (vec![ConnectionId(1)], vec![ConnectionId(1)]));
            assert!(joined.is_ok() && is_in_the_room);
        } else {
            assert_eq!((node.holders(), node.claims()), (vec![], vec![]));
            assert!(!is_in_the_room);
            assert!(matches!(serve(registration, &*ada), Ending::Close(_)));
        }
    });
}

/// The node and the connection's own task end it at the same time: it is released once, and nothing is left.
#[test]
fn a_kick_and_the_connections_own_end_leave_nothing() {
    explore("ending: kick and own end", || {
        let node = ToldNode::with(Duplicates::Allow);
        let ada = BareConnection::create(1, "ada");
        let (registration, _) = node.register(&ada).unwrap();
        let request = JoinRequest { listens: false, guard: Box::new(|_| Ok(())), seat: None };
        node.node.rooms.join("lobby", &ada, request).unwrap();
        let kicking = thread::spawn({
            let node = node.clone();
            move || node.node.kick("ada", close(), Reach::Node)
        });
        drop(registration);
        kicking.join().unwrap();
        node.check_empty();
        assert!(ada.state().outbox.is_ending());
    });
}

/// A drain ends every connection, also one that is being admitted, and returns when the last one has ended.
#[test]
fn a_drain_ends_every_connection() {
    explore("drain: end of all", || {
        let node = ToldNode::with(Duplicates::Allow);
        let clients = [1, 2].map(|id| {
            let node = node.clone();
            thread::spawn(move || {
                let connection = BareConnection::create(id, "ada");
                match node.register(&connection) {
                    // Waits for ever if it is not ordered to end, which loom reports.
                    Ok((registration, _)) => assert!(matches!(serve(registration, &*connection), Ending::Drain)),
                    Err(refused) => assert_eq!(refused, Refused::Draining),
                }
            })
        });
        // Waits for ever if it misses the end of the last connection.
        block_on(node.node.drain());
        assert_eq!(node.node.connections(), 0);
        assert_eq!(node.node.take_slot(None, None, false).err(), Some(Refused::Draining));
        clients.into_iter().for_each(|client| client.join().unwrap());
        node.check_empty();
    });
}

/// When the drain's deadline has passed, every connection is cut off, also one that lingers and one that is being
/// admitted.
#[test]
fn every_connection_is_cut_off() {
    explore("drain: cut off", || {
        let node = ToldNode::with(Duplicates::Allow);
        let lingering = BareConnection::create(1, "ada");
        let (registration, _) = node.register(&lingering).unwrap();
        let client = thread::spawn({
            let node = node.clone();
            move || {
                let connection = BareConnection::create(2, "bob");
                if let Ok((registration, _)) = node.register(&connection) {
                    assert!(matches!(serve(registration, &*connection), Ending::Abandon));
                }
            }
        });
        let socket = thread::spawn(move || {
            registration.end();
            serve_until_cut_off(registration, &*lingering);
        });
        node.node.abandon();
        block_on(node.node.emptied());
        block_on(node.node.abandoned());
        client.join().unwrap();
        socket.join().unwrap();
        node.check_empty();
    });
}

/// Keeps the socket of a connection that has ended until it is cut off.
fn serve_until_cut_off(registration: Registration, connection: &dyn Recipient) {
    let backlog = &registration.node().fan_out.backlog;
    block_on(poll_fn(|cx| match connection.state().outbox.take(cx, &mut Vec::new(), backlog, |_| false) {
        Some(Ending::Abandon) => Poll::Ready(()),
        _ => Poll::Pending,
    }));
}

/// The node never has more connections than `max_connections`, and a slot that is given back is free.
#[test]
fn the_number_of_connections_is_bounded() {
    explore("admission: max_connections", || {
        let node = ToldNode::new(Limits { max_connections: 1, ..limits() });
        let connect = |id: u64| {
            let node = node.clone();
            move || {
                if let Ok((registration, _)) = node.register(&BareConnection::create(id, "ada")) {
                    assert_eq!(node.node.connections(), 1);
                    drop(registration);
                }
            }
        };
        let other = thread::spawn(connect(1));
        connect(2)();
        other.join().unwrap();
        node.check_empty();
        assert!(node.node.take_slot(None, None, false).is_ok());
    });
}

/// A user who has moved from another node to this one is announced again, because that node has announced that the user
/// left. If the user leaves meanwhile, or comes back, other nodes hear of that last.
#[test]
fn a_correction_of_presence_is_true() {
    explore("presence: correction", || {
        let node = ToldNode::with(Duplicates::Replace);
        let ada = BareConnection::create(1, "ada");
        let join = |connection: &Arc<dyn Recipient>| {
            let request = JoinRequest { listens: false, guard: Box::new(|_| Ok(())), seat: None };
            node.node.rooms.join("lobby", connection, request).unwrap();
        };
        join(&ada);
        let left = NodeMessage::Presence { presence: Presence::Left, member: Member::new(&*ada) };
        let receiving = thread::spawn({
            let node = node.clone();
            move || node.node.receive("", Address::Room("lobby"), &left)
        });
        node.node.rooms.leave("lobby", &*ada);
        let last = || node.told.with(|told| told.presence.last().map(|(presence, _)| *presence));
        receiving.join().unwrap();
        assert_eq!(last(), Some(Presence::Left));

        join(&ada);
        assert_eq!(last(), Some(Presence::Joined));
    });
}
