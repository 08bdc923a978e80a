use std::sync::Arc;

use loom::future::block_on;
use loom::thread;

use crate::node_state::errors::JoinError;
use crate::node_state::model::rooms::ToldRooms;
use crate::node_state::model::{BareConnection, limits};
use crate::node_state::outbox::Ending;
use crate::node_state::recipient::{ConnectionId, Recipient};
use crate::node_state::rooms::JoinRequest;
use crate::node_state::seat::WhenAway;
use crate::node_state::seat_requests::{SeatPlace, SeatWish, Seated};
use crate::node_state::sync::model::explore;
use crate::protocol::DisconnectReason;

fn seat(rooms: &ToldRooms, who: &Arc<dyn Recipient>) -> Result<Arc<str>, JoinError> {
    let wish = SeatWish { place: SeatPlace::Family("duel-"), seats: 2, when_away: WhenAway::Refuse };
    let granted = match block_on(rooms.rooms.take_seat(&**who, wish))? {
        Seated::Already(name) => return Ok(name),
        Seated::Now(granted) => granted,
    };
    let name = Arc::clone(&granted.seat().room);
    rooms.rooms.join(&name, who, JoinRequest { listens: false, guard: Box::new(|_| Ok(())), seat: Some(granted) })?;
    Ok(name)
}

/// Three who want a seat at the same time fill one room of two seats, and begin another.
#[test]
fn a_room_is_filled_and_not_overfilled() {
    explore("seats: fill", || {
        let rooms = ToldRooms::new(&limits());
        let sit = |id: u64, uid: &'static str| {
            let rooms = rooms.clone();
            move || seat(&rooms, &BareConnection::create(id, uid)).unwrap()
        };
        let others = [thread::spawn(sit(1, "ada")), thread::spawn(sit(2, "bob"))];
        let mut names = vec![sit(3, "cleo")()];
        names.extend(others.map(|other| other.join().unwrap()));
        names.sort();
        names.dedup();
        let mut members: Vec<_> = names.iter().map(|name| rooms.ids(name).len()).collect();
        members.sort_unstable();
        assert_eq!(members, [1, 2]);
        assert_eq!(rooms.rooms.len(), 2);
    });
}

/// The seat of a connection that is replaced stays the user's, whoever asks for a seat at the same time.
#[test]
fn a_seat_is_handed_over() {
    explore("seats: hand over", || {
        let rooms = ToldRooms::new(&limits());
        let (old, new) = (BareConnection::create(1, "ada"), BareConnection::create(2, "ada"));
        let name = seat(&rooms, &old).unwrap();
        assert_eq!(seat(&rooms, &BareConnection::create(3, "bob")).unwrap(), name);
        let other = thread::spawn({
            let rooms = rooms.clone();
            move || seat(&rooms, &BareConnection::create(4, "cleo")).unwrap()
        });
        old.state().outbox.end(Ending::Close(DisconnectReason::Replaced));
        rooms.rooms.leave_all(&*old);
        assert_eq!(seat(&rooms, &new).unwrap(), name);
        assert_ne!(other.join().unwrap(), name, "the seat was taken");
        assert_eq!(rooms.ids(&name).len(), 2);
    });
}

/// A seat that a connection has got, but not taken yet, when it is replaced is the user's too.
#[test]
fn a_seat_that_was_not_taken_yet_is_handed_over() {
    explore("seats: hand over before the join", || {
        let rooms = ToldRooms::new(&limits());
        let (old, new) = (BareConnection::create(1, "ada"), BareConnection::create(2, "ada"));
        let wish = SeatWish { place: SeatPlace::Family("duel-"), seats: 2, when_away: WhenAway::Refuse };
        let Ok(Seated::Now(granted)) = block_on(rooms.rooms.take_seat(&*old, wish)) else { panic!("no seat") };
        let name = Arc::clone(&granted.seat().room);
        let replacing = thread::spawn({
            let (rooms, old) = (rooms.clone(), Arc::clone(&old));
            move || {
                old.state().outbox.end(Ending::Close(DisconnectReason::Replaced));
                rooms.rooms.leave_all(&*old);
            }
        });
        let request = JoinRequest { listens: false, guard: Box::new(|_| Ok(())), seat: Some(granted) };
        // It has joined before it was replaced, or has not joined.
        let _ = rooms.rooms.join(&name, &old, request);
        replacing.join().unwrap();
        assert_eq!(seat(&rooms, &new).unwrap(), name);
        assert_eq!(rooms.ids(&name), [ConnectionId(2)]);
    });
}

/// A connection that asks for a seat twice at the same time is in one room of the family.
#[test]
fn a_connection_has_one_seat() {
    explore("seats: one seat", || {
        let rooms = ToldRooms::new(&limits());
        let ada = BareConnection::create(1, "ada");
        let other = thread::spawn({
            let (rooms, ada) = (rooms.clone(), Arc::clone(&ada));
            move || seat(&rooms, &ada).unwrap()
        });
        let name = seat(&rooms, &ada).unwrap();
        assert_eq!(other.join().unwrap(), name);
        assert_eq!((rooms.rooms.len(), ada.state().memberships.names().len()), (1, 1));
        rooms.rooms.leave_all(&*ada);
        rooms.check_empty();
    });
}

/// A seat that is given back is found, although its room may end meanwhile. So is the seat of a room that a client has
/// joined by its name.
#[test]
fn a_free_seat_is_found() {
    explore("seats: free seats", || {
        let rooms = ToldRooms::new(&limits());
        let (ada, bob) = (BareConnection::create(1, "ada"), BareConnection::create(2, "bob"));
        let first = seat(&rooms, &ada).unwrap();
        let leaving = thread::spawn({
            let rooms = rooms.clone();
            move || rooms.rooms.leave_all(&*ada)
        });
        let second = seat(&rooms, &bob).unwrap();
        leaving.join().unwrap();
        assert_eq!(rooms.ids(&second), [ConnectionId(2)]);
        assert_eq!(rooms.rooms.len(), 1, "{first} has ended, unless it is {second}");
        assert_eq!(seat(&rooms, &BareConnection::create(3, "cleo")).unwrap(), second);
        assert_ne!(seat(&rooms, &BareConnection::create(4, "dan")).unwrap(), second);
    });
}

/// The seats are counted rightly while members come by the name of the room, take a seat, and are kicked.
#[test]
fn seats_are_counted_for_those_who_join_by_name() {
    explore("seats: join by name", || {
        let rooms = ToldRooms::new(&limits());
        let (ada, bob) = (BareConnection::create(1, "ada"), BareConnection::create(2, "bob"));
        let name = seat(&rooms, &ada).unwrap();
        let kicking = thread::spawn({
            let (rooms, ada) = (rooms.clone(), Arc::clone(&ada));
            move || rooms.rooms.leave_all(&*ada)
        });
        let joining = thread::spawn({
            let (rooms, bob, name) = (rooms.clone(), Arc::clone(&bob), Arc::clone(&name));
            move || rooms.join(&name, &bob).unwrap()
        });
        let cleo = BareConnection::create(3, "cleo");
        let seated = seat(&rooms, &cleo).unwrap();
        kicking.join().unwrap();
        joining.join().unwrap();
        let members = rooms.ids(&seated);
        assert!(members.contains(&ConnectionId(3)));
        [bob, cleo].iter().for_each(|member| rooms.rooms.leave_all(&**member));
        rooms.check_empty();
        // Nothing is left of the family either: the next seat is in a new room.
        assert_ne!(seat(&rooms, &BareConnection::create(4, "dan")).unwrap(), seated);
    });
}
