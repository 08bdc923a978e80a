use std::sync::Arc;

use loom::thread;

use crate::node_state::clock::Clock;
use crate::node_state::errors::JoinError;
use crate::node_state::fan_out::FanOut;
use crate::node_state::limits::{Limits, OutboxLimits};
use crate::node_state::member::Presence;
use crate::node_state::model::{BareConnection, ToldCluster, limits};
use crate::node_state::outbox::Backlog;
use crate::node_state::recipient::{ConnectionId, Recipient};
use crate::node_state::rooms::{JoinRequest, LocalRooms};
use crate::node_state::sync::atomic::{AtomicUsize, Ordering};
use crate::node_state::sync::model::explore;
use crate::protocol::Syntax;
use crate::protocol::resumption::KeyedFrame;

/// The rooms of a node, and what the node tells its cluster about them.
#[derive(Clone)]
pub(super) struct ToldRooms {
    pub(super) rooms: Arc<LocalRooms>,
    pub(super) told: Arc<ToldCluster>,
}

impl ToldRooms {
    pub(super) fn new(limits: &Limits) -> Self {
        let told = Arc::<ToldCluster>::default();
        let fan_out = Arc::new(FanOut::new(vec![&Syntax::DEFAULT], limits));
        let rooms = LocalRooms::new(1, limits, Clock::start(), Arc::default(), fan_out, told.clone());
        Self { rooms: Arc::new(rooms), told }
    }

    pub(super) fn join(&self, name: &str, who: &Arc<dyn Recipient>) -> Result<(), JoinError> {
        self.rooms.join(name, who, JoinRequest { listens: false, guard: Box::new(|_| Ok(())), seat: None })
    }

    pub(super) fn ids(&self, name: &str) -> Vec<ConnectionId> {
        let mut ids = Vec::new();
        self.rooms.for_each_member(name, |member| ids.push(member.state().id));
        ids
    }

    /// Nobody is in a room, and nothing is left of the rooms on this node and in the cluster.
    pub(super) fn check_empty(&self) {
        assert_eq!(self.rooms.len(), 0, "an empty room is left");
        assert!(self.told.with(|told| told.subscribed.is_empty()), "a subscription is left");
        self.check_presence(&[]);
    }

    /// Other nodes hear of each user alternately that the user has joined and left, and last that these have joined.
    pub(super) fn check_presence(&self, present: &[&str]) {
        self.told.with(|told| {
            let mut users: Vec<_> = told.presence.iter().map(|(_, uid)| uid).collect();
            users.sort();
            users.dedup();
            for user in users {
                let changes = told.presence.iter().filter(|(_, uid)| uid == user).map(|(presence, _)| *presence);
                let changes: Vec<_> = changes.collect();
                let expected = [Presence::Joined, Presence::Left].into_iter().cycle();
                assert!(changes.iter().copied().eq(expected.take(changes.len())), "{user}: {changes:?}");
                let is_present = present.contains(&user.as_str());
                assert_eq!(changes.last() == Some(&Presence::Joined), is_present, "{user}: {changes:?}");
            }
        });
    }
}

/// Connections that join and leave one room, which ends and is created again meanwhile, leave nothing behind.
#[test]
fn an_empty_room_ends() {
    explore("rooms: end and re-creation", || {
        let rooms = ToldRooms::new(&limits());
        let come_and_go = |id: u64, uid: &'static str| {
            let rooms = rooms.clone();
            move || {
                let connection = BareConnection::create(id, uid);
                rooms.join("lobby", &connection).unwrap();
                assert!(rooms.ids("lobby").contains(&ConnectionId(id)), "a member is in the room");
                assert!(rooms.rooms.leave("lobby", &*connection));
                assert!(!rooms.ids("lobby").contains(&ConnectionId(id)));
            }
        };
        let others = [thread::spawn(come_and_go(1, "ada")), thread::spawn(come_and_go(2, "bob"))];
        come_and_go(3, "cleo")();
        others.into_iter().for_each(|other| other.join().unwrap());
        rooms.check_empty();
    });
}

/// A connection that is kicked while it joins is in no room afterwards, and the room goes on for the others.
#[test]
fn nobody_is_in_a_room_after_its_end() {
    explore("rooms: kick during a join", || {
        let rooms = ToldRooms::new(&limits());
        let (ada, bob) = (BareConnection::create(1, "ada"), BareConnection::create(2, "bob"));
        let joining = thread::spawn({
            let (rooms, ada) = (rooms.clone(), Arc::clone(&ada));
            move || {
                let joined = rooms.join("lobby", &ada);
                assert!(matches!(joined, Ok(()) | Err(JoinError::Closed)), "{joined:?}");
            }
        });
        let kicking = thread::spawn({
            let (rooms, ada) = (rooms.clone(), Arc::clone(&ada));
            move || {
                rooms.rooms.leave_all(&*ada);
                assert!(!rooms.ids("lobby").contains(&ConnectionId(1)));
            }
        });
        rooms.join("lobby", &bob).unwrap();
        joining.join().unwrap();
        kicking.join().unwrap();
        assert_eq!(rooms.ids("lobby"), [ConnectionId(2)]);
        assert!(matches!(rooms.join("lobby", &ada), Err(JoinError::Closed)));
        rooms.check_presence(&["bob"]);
        rooms.rooms.leave_all(&*bob);
        rooms.check_empty();
    });
}

/// Two ends of one connection, by a kick and by its task, and a leave do not disturb each other.
#[test]
fn a_connection_leaves_once() {
    explore("rooms: two ends", || {
        let rooms = ToldRooms::new(&limits());
        let ada = BareConnection::create(1, "ada");
        rooms.join("lobby", &ada).unwrap();
        rooms.join("chess", &ada).unwrap();
        let ends = [(), ()].map(|()| {
            let (rooms, ada) = (rooms.clone(), Arc::clone(&ada));
            thread::spawn(move || {
                rooms.rooms.leave_all(&*ada);
                assert!(!rooms.rooms.contains("chess"), "the later end waits for the earlier");
            })
        });
        rooms.rooms.leave("lobby", &*ada);
        ends.into_iter().for_each(|end| _ = end.join().unwrap());
        assert_eq!(rooms.rooms.len(), 0);
        assert!(rooms.told.with(|told| told.subscribed.is_empty() && told.presence.len() == 4));
    });
}

/// A member who leaves during a send gets the push before the leave returns, or not at all. One who stays gets it.
#[test]
fn a_send_reaches_the_members_of_one_moment() {
    explore("rooms: send", || {
        let rooms = ToldRooms::new(&limits());
        let (ada, bob) = (BareConnection::create(1, "ada"), BareConnection::create(2, "bob"));
        rooms.join("lobby", &ada).unwrap();
        rooms.join("lobby", &bob).unwrap();
        let leaving = thread::spawn({
            let (rooms, ada) = (rooms.clone(), Arc::clone(&ada));
            move || {
                rooms.rooms.leave("lobby", &*ada);
                ada.state().outbox.queued().pushes
            }
        });
        let (backlog, limits) = (Backlog::new(usize::MAX), OutboxLimits { max_pushes: 8, max_size: 8 });
        rooms.rooms.for_each_member("lobby", |member| {
            member.state().outbox.push(KeyedFrame::own(vec![1], None), limits, &backlog).unwrap();
        });
        assert_eq!(leaving.join().unwrap(), ada.state().outbox.queued().pushes);
        assert_eq!(bob.state().outbox.queued().pushes, 1);
    });
}

/// There are never more rooms than `max_rooms`, and dropping one lets another one be created.
#[test]
fn the_number_of_rooms_is_bounded() {
    explore("rooms: max_rooms", || {
        let rooms = ToldRooms::new(&Limits { max_rooms: 1, ..limits() });
        let inside = Arc::<AtomicUsize>::default();
        let come_and_go = |id: u64, name: &'static str| {
            let (rooms, inside) = (rooms.clone(), Arc::clone(&inside));
            move || {
                let connection = BareConnection::create(id, name);
                match rooms.join(name, &connection) {
                    Ok(()) => {
                        assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0, "there are two rooms");
                        assert_eq!(rooms.ids(name), [ConnectionId(id)]);
                        inside.fetch_sub(1, Ordering::Relaxed);
                        assert!(rooms.rooms.leave(name, &*connection));
                    }
                    Err(error) => assert!(matches!(error, JoinError::NoMoreRooms(1)), "{error:?}"),
                }
            }
        };
        let lobby = thread::spawn(come_and_go(1, "lobby"));
        come_and_go(2, "chess")();
        lobby.join().unwrap();
        rooms.check_empty();
        rooms.join("go", &BareConnection::create(3, "cleo")).unwrap();
    });
}

/// A user with two connections has joined while one of them is in the room. Other nodes hear of it in the order in
/// which it happened, also if the room ends between two connections.
#[test]
fn other_nodes_hear_last_what_happened_last() {
    explore("rooms: presence of two connections", || {
        let rooms = ToldRooms::new(&limits());
        let (old, new) = (BareConnection::create(1, "ada"), BareConnection::create(2, "ada"));
        rooms.join("lobby", &old).unwrap();
        let leaving = thread::spawn({
            let rooms = rooms.clone();
            move || rooms.rooms.leave_all(&*old)
        });
        rooms.join("lobby", &new).unwrap();
        leaving.join().unwrap();
        rooms.check_presence(&["ada"]);
    });
}

/// The same, while another user keeps the room from ending.
#[test]
fn other_nodes_hear_last_what_happened_last_in_a_room_that_goes_on() {
    explore("rooms: presence of two connections in a room that goes on", || {
        let rooms = ToldRooms::new(&limits());
        let (old, new) = (BareConnection::create(1, "ada"), BareConnection::create(2, "ada"));
        let bob = BareConnection::create(3, "bob");
        rooms.join("lobby", &bob).unwrap();
        rooms.join("lobby", &old).unwrap();
        let leaving = thread::spawn({
            let rooms = rooms.clone();
            move || rooms.rooms.leave_all(&*old)
        });
        rooms.join("lobby", &new).unwrap();
        leaving.join().unwrap();
        rooms.check_presence(&["ada", "bob"]);
    });
}
