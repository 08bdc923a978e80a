//! Rooms under load: who is in them gets every send once and in order, whoever else comes and goes meanwhile.
//!
//! How long they are tried, in seconds, `KENGINE_STRESS_SECONDS` tells: `.ci/long` gives them more than here.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use kengine::{
    Connection, Error, Hub, Push, Server,
    room::RoomCount,
    testing::{self, Client, Served},
};
use kengine_tests::{ClientFrame, RawClient, TestServer, heavy_test, within};
use serde::{Deserialize, Serialize};
use tokio::{sync::Semaphore, time::interval};

/// What a sender sends: its number, and how many it has sent before.
#[derive(Serialize, Deserialize, Push)]
struct Move {
    sender: usize,
    number: u32,
}

#[derive(Default)]
struct Arena {
    /// The connections, in the order in which they came.
    guests: Mutex<Vec<Connection>>,
}

#[kengine::dispatcher]
impl Arena {
    #[open]
    async fn greet(&self, connection: &Connection) {
        self.guests.lock().unwrap().push(connection.clone());
    }

    #[route]
    async fn join(&self, hub: &Hub, connection: &Connection) -> Result<(), Error> {
        Ok(hub.room("arena").join(connection).await?)
    }

    #[route]
    async fn leave(&self, hub: &Hub, connection: &Connection) -> bool {
        hub.room("arena").leave(connection)
    }
}

fn stress() -> Duration {
    let seconds = std::env::var("KENGINE_STRESS_SECONDS");
    Duration::from_secs(seconds.map_or(3, |seconds| seconds.parse().expect("seconds")))
}

const SENDERS: usize = 4;

/// How far each sender is.
#[derive(Default)]
struct Sends {
    /// Counted before a send.
    begun: [AtomicU32; SENDERS],
    /// Counted after it.
    done: [AtomicU32; SENDERS],
}

impl Sends {
    fn begun(&self) -> [u32; SENDERS] {
        self.begun.each_ref().map(|begun| begun.load(Ordering::SeqCst))
    }

    fn done(&self) -> [u32; SENDERS] {
        self.done.each_ref().map(|done| done.load(Ordering::SeqCst))
    }

    /// Sends, a thousand a second among all senders, until it is told to stop.
    async fn send(self: Arc<Self>, sender: usize, hub: Hub, stop: Arc<AtomicBool>) {
        let mut turns = interval(Duration::from_millis(SENDERS as u64));
        while !stop.load(Ordering::SeqCst) {
            turns.tick().await;
            let number = self.begun[sender].fetch_add(1, Ordering::SeqCst);
            hub.room("arena").send(&Move { sender, number }).expect("a push that can be written");
            self.done[sender].fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A client that comes and goes, and what it has to get.
struct Member {
    client: RawClient,
    sends: Arc<Sends>,
    /// The least number that may come next from each sender: each comes once, and in order.
    next: [u32; SENDERS],
    /// From these numbers on it has to get each, until it leaves.
    from: [u32; SENDERS],
}

impl Member {
    async fn connect(server: &TestServer, sends: &Arc<Sends>) -> Self {
        let client = RawClient::connect(server.address()).await;
        Self { client, sends: Arc::clone(sends), next: [0; SENDERS], from: [u32::MAX; SENDERS] }
    }

    /// Reads one frame; whether it is the answer to a request.
    async fn read(&mut self) -> bool {
        #[derive(Deserialize)]
        struct Frame {
            message: Option<Move>,
        }
        let mut frame = self.client.next().await.expect("a connection that lasts");
        while frame.opcode == 0x9 {
            self.client.send_frames([ClientFrame::pong(frame.payload)]).await;
            frame = self.client.next().await.expect("a connection that lasts");
        }
        let text = std::str::from_utf8(&frame.payload).expect("a text");
        let frame: Frame = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let Some(Move { sender, number }) = frame.message else {
            assert!(text.starts_with(r#"{"id":1,"result""#), "{text}");
            return true;
        };
        let (next, from) = (self.next[sender], self.from[sender]);
        if number >= from {
            assert_eq!(number, next.max(from), "of sender {sender}: one is missing, or came twice");
        } else {
            assert!(number >= next, "of sender {sender}: {number} came twice, or to one who had left");
        }
        self.next[sender] = number + 1;
        false
    }

    async fn request(&mut self, route: &str) {
        let request = format!(r#"{{"method":"{route}","id":1}}"#);
        self.client.send_frames([ClientFrame::text(request)]).await;
        while !self.read().await {}
    }

    async fn join(&mut self) {
        // What was sent before it wished to join is not for it,
        self.from = [u32::MAX; SENDERS];
        self.next = self.sends.done();
        self.request("join").await;
        // what is sent when it has joined is, and what is sent in between may be.
        self.from = self.sends.begun();
    }

    async fn leave(&mut self) {
        let until = self.sends.done();
        self.request("leave").await;
        // An answer may overtake pushes while the socket is blocked: they follow.
        while (0..SENDERS).any(|sender| self.next[sender].max(self.from[sender]) < until[sender]) {
            assert!(!self.read().await, "two answers to one request");
        }
    }
}

/// Numbers that look random, and are the same on every run.
struct Dice(u32);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 16) % sides
    }
}

/// Comes and goes, now and then by leaving the server, until it is told to stop; how often, and how many sends it got.
async fn come_and_go(
    mut member: Member,
    server: Arc<TestServer>,
    number: u32,
    stop: Arc<AtomicBool>,
) -> [u32; 2] {
    let mut dice = Dice(number);
    let (mut moves, mut got) = (0, 0);
    while !stop.load(Ordering::SeqCst) {
        member.join().await;
        moves += 2;
        for _ in 0..dice.roll(40) {
            member.read().await;
            got += 1;
        }
        if dice.roll(10) == 0 {
            member = Member::connect(&server, &member.sends).await;
        } else {
            member.leave().await;
        }
    }
    [moves, got]
}

/// Is in the room all the time.
async fn stay(mut member: Member, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::SeqCst) {
        member.read().await;
    }
    member.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_in_the_room_gets_every_send_once_while_others_come_and_go() {
    const MOVERS: u32 = 20;
    const STAYERS: usize = 10;
    let _turn = heavy_test().await;
    let server = Arc::new(TestServer::start(Server::new(Arena::default())).await);
    let sends = Arc::<Sends>::default();
    let [members_stop, senders_stop] = [(); 2].map(|()| Arc::<AtomicBool>::default());

    let mut staying = Vec::new();
    for _ in 0..STAYERS {
        let mut member = Member::connect(&server, &sends).await;
        member.join().await;
        staying.push(tokio::spawn(stay(member, Arc::clone(&members_stop))));
    }
    let mut moving = Vec::new();
    for number in 0..MOVERS {
        let member = Member::connect(&server, &sends).await;
        moving.push(tokio::spawn(come_and_go(
            member,
            Arc::clone(&server),
            number,
            Arc::clone(&members_stop),
        )));
    }
    let send = |sender| Arc::clone(&sends).send(sender, server.hub().clone(), Arc::clone(&senders_stop));
    let sending: Vec<_> = (0..SENDERS).map(|sender| tokio::spawn(send(sender))).collect();

    tokio::time::sleep(stress()).await;
    members_stop.store(true, Ordering::SeqCst);
    let (mut moves, mut got) = (0, 0);
    for moving in moving {
        let counted = within("a mover", moving).await.expect("no panic");
        (moves, got) = (moves + counted[0], got + counted[1]);
    }
    for staying in staying {
        within("a stayer", staying).await.expect("no panic");
    }
    // Whoever reads waits for a send: the senders stop last.
    senders_stop.store(true, Ordering::SeqCst);
    for sending in sending {
        within("a sender", sending).await.expect("no panic");
    }
    let total: u32 = sends.done().iter().sum();
    println!("{moves} joins and leaves, {total} sends, {got} got by those who came and went");
    assert!(moves > 0 && got > 0);

    within("the end of everyone", async {
        while server.hub().connections() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(server.hub().rooms("").list(), []);
    assert_eq!(server.hub().queued_bytes(), 0);
    assert_eq!(server.hub().all().send(&Move { sender: 0, number: 0 }).unwrap(), 0, "a user is left");
    Arc::into_inner(server).expect("nobody else has it").stop().await;
}

/// So many players, each with the connection that the server has of it.
async fn players(arena: &Served<Arena>, count: usize) -> (Vec<Client>, Vec<Connection>) {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(arena.connect("/ws").await.expect("a place"));
    }
    let connections = arena.dispatcher().guests.lock().unwrap().clone();
    (clients, connections)
}

const SEATS: usize = 9;

async fn sit_down(hub: &Hub, connection: &Connection) -> String {
    let arena = hub.rooms("arena-").fill(SEATS, connection).await.expect("a seat");
    arena.name().to_owned()
}

/// How many rooms there are with how many members.
fn sizes(hub: &Hub) -> BTreeMap<usize, usize> {
    let mut sizes = BTreeMap::new();
    for room in hub.rooms("arena-").list() {
        *sizes.entry(room.members).or_default() += 1;
    }
    sizes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_who_sit_down_at_once_fill_room_after_room() {
    const PLAYERS: usize = 10_000;
    let _turn = heavy_test().await;
    let arena = testing::serve(Server::new(Arena::default()).max_connections(PLAYERS));
    let (clients, connections) = players(&arena, PLAYERS).await;
    let start = Arc::new(Semaphore::new(0));
    let sitting: Vec<_> = connections
        .iter()
        .map(|connection| {
            let (connection, hub, start) = (connection.clone(), arena.hub(), Arc::clone(&start));
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
    // Nobody left: at the end at most one room has a free seat, and so it was at any time before.
    let hub = arena.hub();
    assert_eq!(sizes(&hub), BTreeMap::from([(SEATS, PLAYERS / SEATS), (PLAYERS % SEATS, 1)]));
    let listed: BTreeMap<_, _> =
        hub.rooms("arena-").list().into_iter().map(|room| (room.name, room.members)).collect();
    assert_eq!(listed, seated, "who was told to sit elsewhere");
    // Who sits stays there.
    assert_eq!(sit_down(&hub, &connections[0]).await, connections[0].rooms()[0].name());
    assert_eq!(sizes(&hub).values().sum::<usize>(), PLAYERS / SEATS + 1);

    drop(clients);
    within("the end of everyone", arena.emptied()).await;
    assert_eq!(sizes(&hub), BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seats_that_are_left_are_taken_before_another_room_is_opened() {
    const PLAYERS: usize = 300;
    const TURNS: usize = 200;
    let arena = testing::serve(Server::new(Arena::default()));
    let (clients, connections) = players(&arena, PLAYERS).await;
    let most = Arc::<AtomicUsize>::default();
    let moving = connections.iter().enumerate().map(|(number, connection)| {
        let (connection, hub, most) = (connection.clone(), arena.hub(), Arc::clone(&most));
        tokio::spawn(async move {
            for turn in 0..TURNS {
                let name = sit_down(&hub, &connection).await;
                if (turn + number) % 16 == 0 {
                    let members = hub.rooms(&*name).list().iter().map(|room| room.members).max();
                    most.fetch_max(members.expect("one's own room"), Ordering::SeqCst);
                }
                if (turn + number) % 3 == 0 {
                    tokio::task::yield_now().await;
                }
                assert!(hub.room(name).leave(&connection), "it was not where it was told to sit");
            }
            sit_down(&hub, &connection).await
        })
    });
    for moved in join_all(moving).await {
        moved.expect("no panic");
    }
    let hub = arena.hub();
    assert!((1..=SEATS).contains(&most.load(Ordering::SeqCst)), "{most:?} in a room of {SEATS}");
    let rooms = hub.rooms("arena-").list();
    assert_eq!(rooms.iter().map(|room| room.members).sum::<usize>(), PLAYERS);
    assert!(rooms.iter().all(|room| room.members <= SEATS), "{rooms:?}");

    // Everybody sits. When some get up, whoever sits down next takes their seats: the fullest room's first.
    for connection in &connections[..PLAYERS / 2] {
        connection.rooms()[0].leave(connection);
    }
    let free = |room: RoomCount| (room.name, SEATS - room.members);
    let mut free: BTreeMap<_, _> =
        hub.rooms("arena-").list().into_iter().map(free).filter(|(_, seats)| *seats > 0).collect();
    let seats: usize = free.values().sum();
    assert!(seats > SEATS, "nobody got up");
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
    within("the end of everyone", arena.emptied()).await;
    assert_eq!(hub.rooms("").list(), []);
}
