//! Rooms under load: each member gets every send once and in order while others come and go.
//!
//! `KENGINE_STRESS_SECONDS` sets how many seconds the test takes; `.ci/long` sets more than the default.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use kengine::{
    Connection, Hub, Server,
    room::RoomCount,
    testing::{self, Client, Served},
};
use kengine_tests::{
    Dice, RoomMember, Said, Sends, TestServer, Town, Workshop, heavy_test, stress_time, within, without_rates,
};
use tokio::sync::Semaphore;

const SENDERS: usize = 4;
/// The interval of each sender. All senders together send 1,000 times a second.
const EVERY: Duration = Duration::from_millis(SENDERS as u64);

type Member = RoomMember<SENDERS>;

/// Joins and leaves the room, sometimes by a new connection, until `stop` is set. Returns the number of joins and
/// leaves, and of received sends.
async fn come_and_go(mut member: Member, server: Arc<TestServer>, number: u32, stop: Arc<AtomicBool>) -> [u32; 2] {
    let mut dice = Dice::new(number.into());
    let (mut moves, mut got) = (0, 0);
    while !stop.load(Ordering::SeqCst) {
        member.join().await;
        moves += 2;
        for _ in 0..dice.roll(40) {
            member.read().await;
            got += 1;
        }
        if dice.roll(10) == 0 {
            member = Member::of_one_node(&server, member.sends()).await;
        } else {
            member.leave().await;
        }
    }
    [moves, got]
}

/// Stays in the room until `stop` is set.
async fn stay(mut member: Member, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::SeqCst) {
        member.read().await;
    }
    member.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_get_every_send_once_while_others_come_and_go() {
    const MOVERS: u32 = 20;
    const STAYERS: usize = 10;
    let _turn = heavy_test().await;
    let server = Arc::new(TestServer::start(Server::new(Town)).await);
    let sends = Arc::<Sends<SENDERS>>::default();
    let [members_stop, senders_stop] = [(); 2].map(|()| Arc::<AtomicBool>::default());

    let mut staying = Vec::new();
    for _ in 0..STAYERS {
        let mut member = Member::of_one_node(&server, &sends).await;
        member.join().await;
        staying.push(tokio::spawn(stay(member, Arc::clone(&members_stop))));
    }
    let mut moving = Vec::new();
    for number in 0..MOVERS {
        let member = Member::of_one_node(&server, &sends).await;
        moving.push(tokio::spawn(come_and_go(member, Arc::clone(&server), number, Arc::clone(&members_stop))));
    }
    let send = |sender| Arc::clone(&sends).send(sender, server.hub().clone(), EVERY, Arc::clone(&senders_stop));
    let sending: Vec<_> = (0..SENDERS).map(|sender| tokio::spawn(send(sender))).collect();

    tokio::time::sleep(stress_time()).await;
    members_stop.store(true, Ordering::SeqCst);
    let (mut moves, mut got) = (0, 0);
    for moving in moving {
        let counted = within("a mover", moving).await.expect("no panic");
        (moves, got) = (moves + counted[0], got + counted[1]);
    }
    for staying in staying {
        within("a stayer", staying).await.expect("no panic");
    }
    // Members that read need a send to wake up, so the senders stop last.
    senders_stop.store(true, Ordering::SeqCst);
    for sending in sending {
        within("a sender", sending).await.expect("no panic");
    }
    let total: u32 = sends.done().iter().sum();
    println!("{moves} joins and leaves, {total} sends, {got} received by members that came and went");
    assert!(moves > 0 && got > 0);

    server.emptied().await;
    assert_eq!(server.hub().rooms("").local_list(), []);
    assert_eq!(server.hub().queued_bytes(), 0);
    assert_eq!(server.hub().all().send(&Said("anyone?".into())).unwrap(), 0, "a connection is left");
    Arc::into_inner(server).expect("no other owner").stop().await;
}

/// Connects this many clients; returns them and the server's handles of their connections.
async fn players(workshop: &Served<Workshop>, count: usize) -> (Vec<Client>, Vec<Connection>) {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(workshop.connect("/ws").await.expect("a place"));
    }
    let connections = workshop.dispatcher().guests();
    (clients, connections)
}

const SEATS: usize = 9;

async fn sit_down(hub: &Hub, connection: &Connection) -> String {
    let arena = hub.rooms("arena-").fill(SEATS, connection).await.expect("a seat");
    arena.name().to_owned()
}

/// Returns the number of rooms for each number of members.
fn sizes(hub: &Hub) -> BTreeMap<usize, usize> {
    let mut sizes = BTreeMap::new();
    for room in hub.rooms("arena-").local_list() {
        *sizes.entry(room.members).or_default() += 1;
    }
    sizes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_players_at_once_fill_room_after_room() {
    const PLAYERS: usize = 10_000;
    let _turn = heavy_test().await;
    let workshop = testing::serve(without_rates(Workshop::default()).max_connections(PLAYERS));
    let (clients, connections) = players(&workshop, PLAYERS).await;
    let start = Arc::new(Semaphore::new(0));
    let sitting: Vec<_> = connections
        .iter()
        .map(|connection| {
            let (connection, hub, start) = (connection.clone(), workshop.hub(), Arc::clone(&start));
            tokio::spawn(async move {
                start.acquire().await.expect("never closed").forget();
                sit_down(&hub, &connection).await
            })
        })
        .collect();
    start.add_permits(PLAYERS);
    let mut seated = BTreeMap::<_, usize>::new();
    for sitting in sitting {
        *seated.entry(sitting.await.expect("no panic")).or_default() += 1;
    }
    // No player has left, so at most one room has a free seat, now and at any time before.
    let hub = workshop.hub();
    assert_eq!(sizes(&hub), BTreeMap::from([(SEATS, PLAYERS / SEATS), (PLAYERS % SEATS, 1)]));
    let listed: BTreeMap<_, _> =
        hub.rooms("arena-").local_list().into_iter().map(|room| (room.name, room.members)).collect();
    assert_eq!(listed, seated, "the rooms differ from what `fill` returned");
    // A member keeps its seat.
    assert_eq!(sit_down(&hub, &connections[0]).await, connections[0].rooms()[0].name());
    assert_eq!(sizes(&hub).values().sum::<usize>(), PLAYERS / SEATS + 1);

    drop(clients);
    within("the end of all connections", workshop.emptied()).await;
    assert_eq!(sizes(&hub), BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn free_seats_are_taken_before_a_new_room_opens() {
    const PLAYERS: usize = 300;
    const TURNS: usize = 200;
    let workshop = testing::serve(without_rates(Workshop::default()));
    let (clients, connections) = players(&workshop, PLAYERS).await;
    let most = Arc::<AtomicUsize>::default();
    let moving = connections.iter().enumerate().map(|(number, connection)| {
        let (connection, hub, most) = (connection.clone(), workshop.hub(), Arc::clone(&most));
        tokio::spawn(async move {
            for turn in 0..TURNS {
                let name = sit_down(&hub, &connection).await;
                if (turn + number) % 16 == 0 {
                    let members = hub.rooms(&*name).local_list().iter().map(|room| room.members).max();
                    most.fetch_max(members.expect("the room of this connection"), Ordering::SeqCst);
                }
                if (turn + number) % 3 == 0 {
                    tokio::task::yield_now().await;
                }
                assert!(hub.room(name).leave(&connection), "the connection was not in the room that `fill` returned");
            }
            sit_down(&hub, &connection).await
        })
    });
    for moved in join_all(moving).await {
        moved.expect("no panic");
    }
    let hub = workshop.hub();
    assert!((1..=SEATS).contains(&most.load(Ordering::SeqCst)), "{most:?} in a room of {SEATS}");
    let rooms = hub.rooms("arena-").local_list();
    assert_eq!(rooms.iter().map(|room| room.members).sum::<usize>(), PLAYERS);
    assert!(rooms.iter().all(|room| room.members <= SEATS), "{rooms:?}");

    // All players have seats. After some have left, each new player gets a seat in the fullest room that has one.
    for connection in &connections[..PLAYERS / 2] {
        connection.rooms()[0].leave(connection);
    }
    let free = |room: RoomCount| (room.name, SEATS - room.members);
    let mut free: BTreeMap<_, _> =
        hub.rooms("arena-").local_list().into_iter().map(free).filter(|(_, seats)| *seats > 0).collect();
    let seats: usize = free.values().sum();
    assert!(seats > SEATS, "no seat was left");
    for connection in connections.iter().take(PLAYERS / 2).take(seats) {
        let fewest = free.values().min().copied();
        let name = sit_down(&hub, connection).await;
        assert_eq!(free.get(&name).copied(), fewest, "{name} is new, or not the fullest of {free:?}");
        free.retain(|room, seats| {
            *seats -= usize::from(*room == name);
            *seats > 0
        });
    }
    drop(clients);
    within("the end of all connections", workshop.emptied()).await;
    assert_eq!(hub.rooms("").local_list(), []);
}
